"""Small sets of images and models that many tests use: made once in a test run, never changed."""

import os
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # the workers share the cores
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(variable, "1")

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

from forametric.data.collection import Collection
from forametric.data.importers import import_collection
from forametric.data.splits import Split, make_split
from forametric.embedding.recipe import Recipe
from forametric.model.model import Model
from forametric.simulation import write_shells
from tests.support import postgresql as postgresql_support
from tests.support.cli import FORMS, QUICK
from tests.support.shared import made_once, write_noise
from tests.support.tiny import Tiny, make_tiny

settings.register_profile("forametric", deadline=None)  # a busy machine is not a failure
settings.load_profile("forametric")

BROWSER = Path(__file__).parent / "browser"
SLOW_SECONDS = 1200  # a slow test may take, on a machine four times slower than usual
MARKED_BY_FIXTURE = {"postgresql": ("postgresql", "slow"), "real_data": ("slow",)}


def pytest_collection_modifyitems(items) -> None:
    """Mark tests by what they need, so that no test forgets to; slow ones may take longer."""
    for item in items:
        marks = ["browser", "slow"] if BROWSER in item.path.parents else []
        for fixture, needed in MARKED_BY_FIXTURE.items():
            marks += needed if fixture in getattr(item, "fixturenames", ()) else ()
        for mark in marks:
            item.add_marker(mark)
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SLOW_SECONDS))


@pytest.fixture(scope="session")
def shells_folder(tmp_path_factory) -> Path:
    """A saved collection of 48 simulated shells of four forms, 64 px."""

    def make(folder: Path) -> None:
        write_shells(folder / "images", 12, size=64, forms=FORMS)
        import_collection(folder / "images", folder / "collection")

    return made_once(tmp_path_factory, "shells", make) / "collection"


@pytest.fixture(scope="session")
def shells(shells_folder) -> Collection:
    return Collection.open(shells_folder)


@pytest.fixture(scope="session")
def split_file(shells, tmp_path_factory) -> Path:
    """A split of the 48 shells; two of the four forms are held out."""

    def make(folder: Path) -> None:
        make_split(shells, seed=1, held_out_taxa=2).to_csv(folder / "split.csv")

    return made_once(tmp_path_factory, "split", make) / "split.csv"


@pytest.fixture(scope="session")
def model_folder(shells, split_file, tmp_path_factory) -> Path:
    """A model trained for two epochs on the 48 shells, without its calibration."""
    pytest.importorskip("torch")

    def make(folder: Path) -> None:
        from forametric.training.train import train

        recipe = Recipe.load("default", QUICK[1::2])
        trained = train(Split.load(shells, split_file), recipe, folder / "trained")
        assert not (folder / "trained.unfinished").exists()
        identifier = replace(trained.identifier, calibration=None)
        replace(trained, identifier=identifier).save(folder / "model")

    return made_once(tmp_path_factory, "model", make) / "model"


@pytest.fixture(scope="session")
def more_shells(tmp_path_factory) -> Path:
    """Another saved collection of 64 simulated shells of the four forms, in four samples."""

    def make(folder: Path) -> None:
        write_shells(folder / "images", 16, size=64, forms=FORMS, seed=5)
        found = import_collection(folder / "images", folder / "collection").collection
        table = found.specimens.assign(
            sample=[f"core {n % 4 + 8}" for n in range(len(found))],
            depth=[float(n % 4) for n in range(len(found))],
            check="val",
        )
        again = Collection(table, found.images, found.info)
        again.save(folder / "collection", overwrite=True)

    return made_once(tmp_path_factory, "more-shells", make) / "collection"


@pytest.fixture(scope="session")
def calibrated_folder(model_folder, more_shells, tmp_path_factory) -> Path:
    """The model of `model_folder`, calibrated on shells that it never saw."""

    def make(folder: Path) -> None:
        calibrated = Model.load(model_folder).calibrate(Collection.open(more_shells))
        calibrated.save(folder / "model")

    return made_once(tmp_path_factory, "calibrated", make) / "model"


@pytest.fixture(scope="session")
def evaluation(model_folder, shells, split_file):
    """The evaluation of the model of `model_folder` on the split it was trained with."""
    from forametric.evaluation.evaluate import evaluate

    return evaluate(Model.load(model_folder), Split.load(shells, split_file))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Tiny:
    """A small collection, its model, embeddings and decisions, for tests that break them."""
    return Tiny(made_once(tmp_path_factory, "tiny", lambda folder: make_tiny(folder)))


@pytest.fixture(scope="session")
def many(tmp_path_factory) -> Path:
    """A collection of 2,300 small pictures in three parts, one file of which is broken."""

    def make(folder: Path) -> None:
        write_noise(folder / "images", 2300)
        import_collection(folder / "images", folder / "collection")
        (folder / "images" / "taxon 1" / "0007.png").write_bytes(b"broken")

    return made_once(tmp_path_factory, "many", make) / "collection"


@pytest.fixture
def without_onnx(monkeypatch):
    """Models are saved without their ONNX graph, and run by PyTorch: writing it takes seconds."""

    def refuse(*_args) -> None:
        raise NotImplementedError("left out in this test")

    monkeypatch.setattr("forametric.embedding.network.export_onnx", refuse)


@pytest.fixture
def picture(tmp_path):
    """Write a small noisy image and return its path."""

    def write(name: str = "a.png", seed: int = 0, shape=(20, 30, 3)) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(seed).integers(0, 255, shape, np.uint8)).save(path)
        return path

    return write


@pytest.fixture
def served():
    """Serve some bytes on loopback, whatever is asked for, and give the address."""
    servers = []

    def serve(body: bytes) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session")
def real_data() -> Path:
    here = Path(__file__).resolve().parents[1]
    folder = Path(os.environ.get("FORAMETRIC_DATA", here.parent / "shared" / "data"))
    if not (folder / "pollen" / "specimens.csv").is_file():
        pytest.skip(f"the real image sets are not at {folder}")
    return folder


@pytest.fixture(scope="session")
def postgresql_server():
    with postgresql_support.server() as server:
        yield server


@pytest.fixture
def postgresql(postgresql_server):
    """The address of an empty PostgreSQL database of this test's own."""
    with postgresql_server.database() as address:
        yield address
