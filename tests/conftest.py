import os
import shutil
import socket
import subprocess
import tempfile
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from forametric.data.collection import Collection
from forametric.data.importers import import_collection
from forametric.data.splits import make_split
from forametric.simulation import write_shells
from tests.support.cli import FORMS, QUICK, forametric


@pytest.fixture(scope="session")
def shells(tmp_path_factory) -> Collection:
    """A saved collection of 48 simulated shells of four forms, 64 px."""
    folder = tmp_path_factory.mktemp("shells")
    write_shells(folder / "images", 12, size=64, forms=FORMS)
    import_collection(folder / "images", folder / "collection")
    return Collection.open(folder / "collection")


@pytest.fixture(scope="session")
def shells_folder(shells) -> Path:
    return shells.images.parent / "collection"


@pytest.fixture(scope="session")
def split_file(shells, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("split") / "split.csv"
    make_split(shells, seed=1, held_out_taxa=2).to_csv(path)
    return path


@pytest.fixture(scope="session")
def model_folder(shells_folder, split_file, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "model"
    done = forametric("train", shells_folder, "--split", split_file, "-o", folder, *QUICK)
    assert done.returncode == 0, done.stderr
    assert not folder.with_name("model.unfinished").exists()
    return folder


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


@pytest.fixture(scope="session")
def real_data() -> Path:
    here = Path(__file__).resolve().parents[1]
    folder = Path(os.environ.get("FORAMETRIC_DATA", here.parent / "shared" / "data"))
    if not (folder / "pollen" / "specimens.csv").is_file():
        pytest.skip(f"the real image sets are not at {folder}")
    return folder


@pytest.fixture(scope="session")
def more_shells(tmp_path_factory) -> Path:
    """Another saved collection of 64 simulated shells of the four forms, in four samples."""
    folder = tmp_path_factory.mktemp("more")
    write_shells(folder / "images", 16, size=64, forms=FORMS, seed=5)
    import_collection(folder / "images", folder / "collection")
    found = Collection.open(folder / "collection")
    table = found.specimens.assign(
        sample=[f"core {n % 4 + 8}" for n in range(len(found))],
        depth=[float(n % 4) for n in range(len(found))],
        check="val",
    )
    return Collection(table, found.images, found.info).save(folder / "collection", overwrite=True)


@pytest.fixture(scope="session")
def calibrated_folder(model_folder, more_shells, tmp_path_factory) -> Path:
    """The model of `model_folder`, calibrated on shells that it never saw."""
    folder = tmp_path_factory.mktemp("calibrated") / "model"
    done = forametric("calibrate", model_folder, more_shells, "--split", "check", "-o", folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def many(tmp_path_factory) -> Path:
    """A collection of 2,300 small pictures in three parts, one file of which is broken."""
    folder = tmp_path_factory.mktemp("many")
    for number in range(2300):
        path = folder / "images" / f"taxon {number % 3}" / f"{number:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 255, (16, 16, 3), np.uint8)
        Image.fromarray(noise).save(path)
    import_collection(folder / "images", folder / "collection")
    (folder / "images" / "taxon 1" / "0007.png").write_bytes(b"broken")
    return folder / "collection"


@pytest.fixture(scope="session")
def postgresql():
    """A PostgreSQL server of this machine's own, on loopback, for as long as the tests last."""
    found = [shutil.which("initdb"), *sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))]
    initdb = next((Path(place) for place in found if place), None)
    if initdb is None:
        pytest.skip("PostgreSQL is not installed")
    folder = Path(tempfile.mkdtemp())
    run_as = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        shutil.chown(folder, "postgres", "postgres")
        run_as = {"user": "postgres", "group": "postgres"}
    nowhere = subprocess.DEVNULL
    run = partial(subprocess.run, check=True, stdout=nowhere, stderr=nowhere, cwd=folder, **run_as)
    control = [initdb.with_name("pg_ctl"), "-D", folder / "data"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run([initdb, "-D", folder / "data", "-U", "forametric", "-A", "trust"])
    options = f"-h 127.0.0.1 -p {port} -k {folder}"
    run([*control, "-l", folder / "log", "-o", options, "-w", "start"])
    yield f"postgresql://forametric@127.0.0.1:{port}/postgres"
    run([*control, "-m", "fast", "stop"])
    shutil.rmtree(folder)
