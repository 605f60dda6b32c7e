"""No command loses anything: not its inputs, not what else lies in its output."""

import hashlib
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from forametric.data.collection import Collection
from forametric.model.model import Model
from forametric.review.store import DecisionStore
from forametric.utils.locks import one_writer
from forametric.utils.manifest import MANIFEST, not_ours, read_manifest
from forametric.utils.outputs import atomic_folder
from tests.support.cli import FORMS, QUICK, forametric
from tests.support.shared import made_once


def _slide(path: Path) -> None:
    y, x = np.mgrid[:300, :400]
    grey = np.full((300, 400), 20.0)
    for cx, cy in ((100, 100), (300, 150)):
        grey[(x - cx) ** 2 + (y - cy) ** 2 <= 40**2] = 180
    grey += np.random.default_rng(0).normal(0, 1.5, grey.shape)
    Image.fromarray(np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, -1)).save(path)


def _hashes(*folders: Path) -> dict[Path, str]:
    """The content of every file below some folders, but databases, which change on their own."""
    files = (path for folder in folders for path in folder.rglob("*") if path.is_file())
    kept = [path for path in files if "sqlite" not in path.name]
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in kept}


@pytest.fixture(scope="session")
def inputs(shells_folder, more_shells, split_file, calibrated_folder, tmp_path_factory):
    """What commands read, by name."""

    def make(folder: Path) -> None:
        _slide(folder / "slide.png")
        assert forametric("segment", folder / "slide.png", "-o", folder / "trays").returncode == 0
        ids = Collection.open(shells_folder).specimens["id"]
        table = pd.DataFrame({"id": ids, "expert": "Nova species"})
        table.to_csv(folder / "decided.csv", index=False)
        asked = [shells_folder, folder / "decided.csv", "--store", folder / "d.sqlite"]
        assert forametric("record", *asked, "--reviewer", "K. Lee").returncode == 0

    made = made_once(tmp_path_factory, "inputs", make)
    return {
        "C": shells_folder, "N": more_shells, "M": calibrated_folder, "S": split_file,
        "P": shells_folder.parent / "images", "T": made / "trays", "slide": made / "slide.png",
        "D": made / "d.sqlite",
    }  # fmt: skip


# Every command that writes a folder; capitals stand for inputs, and -o is added unless it is there.
FOLDERS = {
    "import": "import P",
    "segment": "segment slide",
    "simulate": "simulate --total 35 --size 32",
    "check": "check C",
    "check --fix": "check C --fix OUTPUT",
    "train": "train C --split S",
    "evaluate": "evaluate M C --split S",
    "calibrate": "calibrate M N --split check",
    "add": "add M N",
    "discover": "discover M N --all",
    "assemblage": "assemblage M N",
    "queue": "queue M N",
    "apply-decisions": "apply-decisions C --store D",
}
SLOW = {"train", "evaluate", "assemblage"}
FILES = {
    "identify": "identify M C",
    "embed": "embed M C",
    "map": "map M C",
    "split": "split C",
    "export": "export C",
    "decisions": "decisions --store D",
}


def _command(text: str, inputs: dict[str, Path], output: Path) -> list[object]:
    words = text.split()
    words += [] if "OUTPUT" in words else ["-o", "OUTPUT"]
    words += QUICK if words[0] == "train" else []
    known = {**inputs, "OUTPUT": output}
    return [known.get(word, word) for word in words]


@pytest.mark.parametrize(
    "verb", [pytest.param(v, marks=[pytest.mark.slow] if v in SLOW else []) for v in FOLDERS]
)
def test_overwriting_changes_nothing_but_what_the_manifest_lists(
    verb, inputs, tmp_path, without_onnx
):
    """An output is replaced; everything else is as it was, and a file of the user's stops it."""
    output = tmp_path / "out"
    with atomic_folder(output) as temporary:
        (temporary / "older.csv").write_text("older")
    (tmp_path / "bystander").write_text("precious")
    places = [path if path.is_dir() else path.parent for path in inputs.values()]
    before = _hashes(*places, tmp_path) | {output / MANIFEST: "", output / "older.csv": ""}
    asked = [*_command(FOLDERS[verb], inputs, output), "--overwrite"]
    done = forametric(*asked)
    assert done.returncode in (0, 1), done.stderr
    after = _hashes(*places, tmp_path)
    changed = {path for path in before | after if before.get(path) != after.get(path)}
    assert all(path.is_relative_to(output) for path in changed), changed
    assert not (output / "older.csv").exists()
    assert not list(not_ours(output))
    assert read_manifest(output).verb == verb.split()[0]

    (output / "notes.txt").write_text("years of work")
    before = _hashes(*places, tmp_path)
    refused = forametric(*asked)
    assert refused.returncode == 2
    assert "notes.txt, which Forametric did not write" in refused.stderr
    assert _hashes(*places, tmp_path) == before


@pytest.mark.parametrize("verb", [v for v in FOLDERS if v != "simulate"])
def test_an_output_folder_over_an_input_is_refused_before_any_work(
    verb, inputs, tmp_path, monkeypatch
):
    """The input itself, a folder in it and one around it; by a relative path and by a link."""
    monkeypatch.chdir(tmp_path)
    asked = [inputs[word] for word in FOLDERS[verb].split() if word in inputs]
    before = _hashes(*{path if path.is_dir() else path.parent for path in asked})
    for path in asked:
        (tmp_path / "link").unlink(missing_ok=True)
        (tmp_path / "link").symlink_to(path.parent)
        outputs = [path, path.parent, tmp_path / "link" / path.name, os.path.relpath(path)]
        outputs += [path / "out", tmp_path / "link" / path.name / "new" / "out"]
        for output in outputs:
            done = forametric(*_command(FOLDERS[verb], inputs, output), "--overwrite")
            assert done.returncode == 2, (output, done.stdout)
            words = ("the input", "is a file", "is not a folder")
            assert any(word in done.stderr for word in words), done.stderr
            assert len(done.stderr.splitlines()) == 1
    after = _hashes(*{path if path.is_dir() else path.parent for path in asked})
    assert after == before


@pytest.mark.parametrize("verb", FILES)
def test_an_output_file_over_an_input_is_refused(verb, inputs, tmp_path):
    """A part of a collection or of a model, the store, an image."""
    suffix = {"map": ".png"}.get(verb, ".csv")
    asked = [inputs[word] for word in FILES[verb].split() if word in inputs]
    image = next(inputs["P"].rglob("*.png"))
    overlaps = [image] if "C" in FILES[verb] else []
    for path in asked:
        overlaps += [path] if path.is_file() else [path / "collection.json", path / "model.json"]
    before = _hashes(*{path.parent for path in asked}, inputs["P"])
    for output in filter(Path.exists, overlaps):
        (tmp_path / f"link{suffix}").unlink(missing_ok=True)
        (tmp_path / f"link{suffix}").symlink_to(output)
        for name in (output, tmp_path / f"link{suffix}"):
            done = forametric(*_command(FILES[verb], inputs, name), "--overwrite")
            assert done.returncode == 2, (name, done.stdout)
    assert _hashes(*{path.parent for path in asked}, inputs["P"]) == before
    assert len(DecisionStore.open(inputs["D"]).history()) == 48


def test_a_new_table_may_lie_in_the_folder_of_the_images(calibrated_folder, tmp_path, picture):
    for number in range(3):
        picture(f"plates/{number}.png", number)
    asked = ["identify", calibrated_folder, tmp_path / "plates", "-o"]
    for overwrite in ([], ["--overwrite"]):
        done = forametric(*asked, tmp_path / "plates" / "names.csv", *overwrite)
        assert done.returncode == 0, done.stderr
    drawn = forametric("map", calibrated_folder, tmp_path / "plates", "-o",
                       tmp_path / "plates" / "map.png")  # fmt: skip
    assert drawn.returncode == 2
    assert "would be one of the images of the input" in drawn.stderr


# Defects that cost images


@pytest.fixture
def trays(tmp_path) -> Path:
    """A collection that holds the only copy of its images."""
    _slide(tmp_path / "slide.png")
    assert forametric("segment", tmp_path / "slide.png", "-o", tmp_path / "trays").returncode == 0
    return tmp_path / "trays"


def test_a_collection_is_not_replaced_by_one_that_refers_to_its_images(trays, tmp_path):
    """`check --fix` and `apply-decisions` onto the collection itself once removed its images."""
    assert forametric("check", trays, "--fix", tmp_path / "clean").returncode == 0
    before = _hashes(trays)
    link = tmp_path / "link"
    link.symlink_to(trays)
    for source in (trays, link, tmp_path / "clean"):
        for output in (trays, link):
            done = forametric("check", source, "--fix", output, "--overwrite")
            assert done.returncode == 2, done.stdout
            assert "the input" in done.stderr
    assert _hashes(trays) == before
    with pytest.raises(Exception, match="contains the input"):
        Collection.open(tmp_path / "clean").save(trays, overwrite=True)
    assert forametric("check", tmp_path / "clean").returncode == 0


def test_an_import_from_a_table_keeps_the_images_that_the_table_names(trays, tmp_path):
    names = [p.relative_to(tmp_path).as_posix() for p in (trays / "images").rglob("*.png")]
    pd.DataFrame({"image": names}).to_csv(tmp_path / "t.csv", index=False)
    done = forametric("import", tmp_path / "t.csv", "-o", trays, "--overwrite")
    assert done.returncode == 2
    assert "contains the input" in done.stderr
    assert forametric("import", tmp_path / "t.csv", "-o", tmp_path / "c").returncode == 0


@pytest.mark.parametrize("name", ["metrics.json", "model.json", "queue.json", MANIFEST])
def test_a_source_with_a_file_named_like_ours_is_not_replaced(name, tmp_path, picture):
    """`import plates -o plates --overwrite` once removed the images."""
    picture("plates/a.png", 1)
    (tmp_path / "plates" / name).write_text('{"acc": 0.9}')
    before = _hashes(tmp_path)
    for output in ("plates", "plates/", "plates/col2", "./plates/../plates"):
        done = forametric("import", "plates", "-o", output, "--overwrite", cwd=tmp_path)
        assert done.returncode == 2
        assert "the input plates" in done.stderr
    assert _hashes(tmp_path) == before


def test_labels_do_not_depend_on_where_the_output_lies(tmp_path, picture):
    """An output in the source was once a second subfolder, and every taxon "unpacked"."""
    for number, taxon in enumerate(("Aa_bb", "Cc_dd")):
        picture(f"plates/unpacked/{taxon}/{number}.png", number)
    inside = forametric("import", "plates", "-o", "plates/col2", cwd=tmp_path)
    assert inside.returncode == 2
    assert "the output plates/col2 lies inside the input plates" in inside.stderr
    assert not (tmp_path / "plates" / "col2.unfinished").exists()
    assert forametric("import", "plates", "-o", "col", cwd=tmp_path).returncode == 0
    assert set(Collection.open(tmp_path / "col").taxa()) == {"Aa bb", "Cc dd"}


@pytest.mark.parametrize("verb", ["import", "segment", "train", "embed"])
def test_a_users_folder_named_like_a_working_folder_is_kept(verb, inputs, tmp_path):
    notes = tmp_path / "out.unfinished" / "notes"
    notes.parent.mkdir()
    notes.write_text("mine")
    done = forametric(*_command((FOLDERS | FILES)[verb], inputs, tmp_path / "out"), "--overwrite")
    assert done.returncode == 2
    assert "out.unfinished is not a working folder of Forametric" in done.stderr
    assert _hashes(tmp_path).keys() == {notes}


def test_a_table_that_an_expert_has_filled_in_is_not_overwritten(inputs, tmp_path):
    asked = ["queue", inputs["M"], inputs["N"], "-o", tmp_path / "q"]
    assert forametric(*asked).returncode == 0
    with (tmp_path / "q" / "queue.csv").open("a") as table:
        table.write("filled in by an expert\n")
    again = forametric(*asked, "--overwrite")
    assert again.returncode == 2
    assert "queue.csv, which was changed after Forametric wrote it" in again.stderr


def test_a_list_of_skipped_images_is_not_written_over_a_users_file(inputs, tmp_path):
    (tmp_path / "names.skipped.csv").write_text("mine")
    done = forametric("identify", inputs["M"], inputs["N"], "-o", tmp_path / "names.csv")
    assert done.returncode == 2
    assert "names.skipped.csv exists already" in done.stderr


@pytest.mark.parametrize("verb", ["check", "queue", "import"])
def test_a_review_project_is_never_replaced(verb, inputs, tmp_path):
    (tmp_path / "core-review").mkdir()
    (tmp_path / "core-review" / "project.json").write_text("{}")
    (tmp_path / "core-review" / "decisions.sqlite").write_text("a year of decisions")
    done = forametric(*_command(FOLDERS[verb], inputs, tmp_path / "core-review"), "--overwrite")
    assert done.returncode == 2
    assert "which Forametric did not write" in done.stderr


# One sentence for outputs that cannot be


@pytest.mark.parametrize(
    ("verb", "output", "words"),
    [
        ("import", "../empty", "the output ../empty holds the current folder"),
        ("check", "..", "the output .. holds the current folder"),
        ("import", ".", "name a new file or folder"),
        ("import", "file", "file is a file; name a folder"),
        ("import", "file/out", "cannot be made, because"),
        ("check", "file/", "file is a file; name a folder"),
        ("identify", ".", "name a new file or folder"),
        ("identify", "folder", "folder is a folder; name a file"),
        ("split", "file/s.csv", "cannot be made, because"),
        ("embed", "folder/", "folder is a folder; name a file"),
        ("embed", "/dev/null", "is not a regular file"),
    ],
)
def test_an_output_that_cannot_be_is_refused_in_a_sentence(verb, output, words, inputs, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "folder").mkdir()
    here = tmp_path / "empty"
    (here / "file").write_text("x")
    asked = _command((FOLDERS | FILES)[verb], inputs, Path(output))
    done = forametric(*asked, "--overwrite", cwd=here)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_trailing_slash_makes_no_difference(inputs, tmp_path):
    done = forametric("check", inputs["C"], "--fix", f"{tmp_path / 'new'}/")
    assert done.returncode == 0, done.stderr
    assert os.listdir(tmp_path) == ["new"]


# One writer


@contextmanager
def _written_by_another(output: Path):
    """Another thread writes this output."""
    begun, end = threading.Event(), threading.Event()

    def write() -> None:
        with one_writer(output):
            begun.set()
            end.wait()

    thread = threading.Thread(target=write)
    thread.start()
    begun.wait()
    yield
    end.set()
    thread.join()


@pytest.mark.parametrize("verb", [*FOLDERS, *FILES, "benchmark", "review"])
def test_a_second_writer_ends_in_a_sentence_before_any_work(verb, inputs, tmp_path):
    known = FOLDERS | FILES | {"benchmark": "benchmark C"}
    output = tmp_path / {"map": "out.png"}.get(verb, "out.csv")
    asked = (
        ["review", output, "--collection", inputs["C"], "--model", inputs["M"]]
        if verb == "review"
        else _command(known[verb], inputs, output)
    )
    with _written_by_another(output):
        done = forametric(*asked)
    assert done.returncode == 2
    assert "is being written by" in done.stderr
    assert os.listdir(tmp_path) == []


@pytest.mark.process
def test_two_processes_that_add_to_a_model_leave_a_whole_model(inputs, tmp_path):
    """One of them once ended with status 0 and a model without weights."""
    asked = [sys.executable, "-m", "forametric",
             *map(str, _command("add M N", inputs, tmp_path / "X"))]  # fmt: skip
    both = [subprocess.Popen(asked, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate()[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 2], said
    refused = next(text for text in said if "error:" in text)
    assert "is being written by forametric add" in refused or "exists already" in refused
    assert set(FORMS) <= set(Model.load(tmp_path / "X").taxa)
    assert os.listdir(tmp_path) == ["X"]
