"""Output folders: whole or absent, one writer, and nothing removed that is not ours."""

import json
import os
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forametric.errors import InputError
from forametric.utils import outputs
from forametric.utils.locks import one_writer
from forametric.utils.manifest import MANIFEST, adding, read_manifest, remove_folder
from forametric.utils.outputs import (
    atomic_folder,
    check_file,
    check_folder,
    is_within,
    put_in_place,
    remove_working_folder,
    resumable_folder,
    write_csv,
)


def write(folder: Path, text: str = "made", *, overwrite: bool = False) -> Path:
    """An output folder with two files."""
    with atomic_folder(folder, overwrite) as temporary:
        (temporary / "images").mkdir()
        (temporary / "images" / "a.png").write_text(text)
        (temporary / "table.csv").write_text(text)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    found = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    return {name: path.read_bytes() for name, path in found.items()}


# The manifest


def test_an_output_lists_its_files_and_what_made_it(tmp_path):
    manifest = read_manifest(write(tmp_path / "out"))
    assert manifest.files == {"images/a.png": 4, "table.csv": 4}
    assert manifest.made_by.startswith("forametric ")
    assert manifest.verb
    assert sorted(os.listdir(tmp_path)) == ["out"]


def test_an_output_of_ours_is_replaced_whole(tmp_path):
    write(tmp_path / "out", "before")
    with atomic_folder(tmp_path / "out", overwrite=True) as temporary:
        (temporary / "new.csv").write_text("after")
    assert sorted(contents(tmp_path)) == ["out/forametric.json", "out/new.csv"]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f: (f / "notes.txt").write_text("years of work"), "notes.txt, which Forametric"),
        (lambda f: (f / "images" / "b.png").touch(), "b.png, which Forametric did not write"),
        (lambda f: (f / "table.csv").write_text("filled in"), "table.csv, which was changed"),
        (lambda f: (f / "link").symlink_to(f.parent), "link, which Forametric did not write"),
        (lambda f: (f / MANIFEST).unlink(), "which Forametric did not write"),
        (lambda f: (f / MANIFEST).write_text("{}"), "which Forametric did not write"),
    ],
)
def test_an_output_with_something_of_the_users_is_refused(spoil, words, tmp_path):
    spoil(write(tmp_path / "out"))
    before = contents(tmp_path)
    with pytest.raises(InputError, match=words):
        write(tmp_path / "out", "again", overwrite=True)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", [".DS_Store", "Thumbs.db", "desktop.ini"])
def test_what_a_file_manager_leaves_in_a_folder_is_in_nobodys_way(name, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_bytes(b"x")
    write(tmp_path / "out", "into a folder that is empty but for it")
    for folder in (tmp_path / "out", tmp_path / "out" / "images"):
        (folder / name).write_bytes(b"x")
    with pytest.raises(InputError, match="exists already"):
        check_folder(tmp_path / "out")
    write(tmp_path / "out", "again", overwrite=True)
    assert contents(tmp_path / "out")["table.csv"] == b"again"
    assert not list((tmp_path / "out").rglob(name))
    assert sorted(os.listdir(tmp_path)) == ["out"]


def test_a_folder_with_a_file_named_like_ours_is_not_ours(tmp_path):
    for name in ("metrics.json", "model.json", "collection.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(InputError, match=r"\.json, which Forametric did not write"):
        check_folder(tmp_path, overwrite=True)


NAMES = st.sampled_from(["a", "b", "c.csv", "run.json", MANIFEST, "x/y", "x/z", ".hidden"])


@settings(max_examples=30)
@given(ours=st.sets(NAMES.filter(lambda n: n != MANIFEST)), added=st.sets(NAMES))
def test_what_the_manifest_does_not_list_is_never_removed(ours, added, tmp_path_factory):
    folder = tmp_path_factory.mktemp("any") / "out"
    with atomic_folder(folder) as temporary:
        for name in ours:
            (temporary / name).parent.mkdir(exist_ok=True)
            (temporary / name).write_text("ours")
    users = {name: f"the user's {name}".encode() for name in added - ours}
    for name, text in users.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(text)
    if users:
        with pytest.raises(InputError, match="which Forametric did not write"):
            write(folder, overwrite=True)
        remove_folder(folder)
        assert users.items() <= contents(folder).items()
    else:
        write(folder, overwrite=True)
        assert set(contents(folder)) == {"images/a.png", "table.csv", MANIFEST}


def test_a_manifest_from_elsewhere_reaches_no_file_outside_its_folder(tmp_path):
    (tmp_path / "precious").write_text("x")
    listed = {"../precious": 1, str(tmp_path / "precious"): 1}
    manifest = read_manifest(write(tmp_path / "out"))
    manifest.model_copy(update={"files": manifest.files | listed}).write(tmp_path / "out")
    remove_folder(tmp_path / "out")
    assert os.listdir(tmp_path) == ["precious"]


def test_files_that_are_added_later_are_listed(tmp_path):
    with adding(write(tmp_path / "out"), "page.html"):
        assert "page.html" in read_manifest(tmp_path / "out").files
        (tmp_path / "out" / "page.html").write_text("<p>")
    assert read_manifest(tmp_path / "out").files["page.html"] == 3
    check_folder(tmp_path / "out", overwrite=True)


# Outputs that cannot be


def test_an_empty_folder_or_file_may_be_taken(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    write(tmp_path / "folder")
    check_file(tmp_path / "file")
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="exists already"):
        check_file(tmp_path / "file")
    check_file(tmp_path / "file", overwrite=True)
    with pytest.raises(InputError, match="exists already"):
        check_folder(tmp_path / "folder")


def test_an_output_of_the_wrong_kind_is_refused_in_a_sentence(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    for path, words in (
        (tmp_path / "file", "is a file; name a folder"),
        (tmp_path / "file" / "out", "cannot be made, because .*file is not a folder"),
        (tmp_path / "file" / "deep" / "out", "cannot be made, because .*file is not a folder"),
        (Path("/"), "holds the current folder"),
    ):
        with pytest.raises(InputError, match=words):
            check_folder(path, overwrite=True)
    for path, words in (
        (tmp_path / "folder", "is a folder; name a file"),
        (tmp_path / "file" / "a.csv", "is not a folder"),
        (Path(os.devnull), "is not a regular file"),
    ):
        with pytest.raises(InputError, match=words):
            check_file(path, overwrite=True)
    monkeypatch.chdir(tmp_path / "folder")
    for path in (Path(), Path(".."), Path("../folder/")):
        with pytest.raises(InputError, match="holds the current folder"):
            check_folder(path, overwrite=True)


def test_a_read_only_parent_is_refused_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    for check in (check_file, check_folder):
        with pytest.raises(InputError, match="is read-only"):
            check(tmp_path / "deep" / "out")


def test_a_single_file_does_not_replace_a_part_of_an_output(tmp_path):
    write(tmp_path / "out")
    for name in ("table.csv", MANIFEST, "images/a.png"):
        with pytest.raises(InputError, match="is a part of"):
            check_file(tmp_path / "out" / name, overwrite=True)
    check_file(tmp_path / "out" / "names.csv", overwrite=True)


def test_links_are_followed_to_the_folder_that_they_name(tmp_path):
    write(tmp_path / "real", "before")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write(tmp_path / "link", "after", overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "table.csv").read_text() == "after"
    assert is_within(tmp_path / "link" / "images", tmp_path / "real")
    assert not is_within(tmp_path / "real-2", tmp_path / "real")


# Replacing


def steps(monkeypatch, stop: int):
    """Raise an error at one of the steps of replacing a folder."""
    count = 0

    def counted(real):
        def step(*arguments, **named):
            nonlocal count
            count += 1
            if count == stop:
                raise OSError("interrupted")
            return real(*arguments, **named)

        return step

    for module, name in ((os, "replace"), (os, "rmdir"), (outputs, "exchange"), (Path, "unlink"),
                         (outputs, "remove_folder"), (Path, "mkdir")):  # fmt: skip
        monkeypatch.setattr(module, name, counted(getattr(module, name)))


@pytest.mark.parametrize("can_exchange", [True, False])
@pytest.mark.parametrize("stop", range(1, 16))
def test_an_error_at_any_step_leaves_the_old_folder_or_the_new(
    stop, can_exchange, tmp_path, monkeypatch
):
    write(tmp_path / "out", "before")
    with monkeypatch.context() as patched:
        if not can_exchange:
            patched.setattr(outputs, "exchange", lambda one, other: False)
        steps(patched, stop)
        with suppress(OSError):
            write(tmp_path / "out", "after", overwrite=True)
    found = contents(tmp_path / "out")
    assert set(found) == {"images/a.png", "table.csv", MANIFEST}
    assert found["table.csv"] == found["images/a.png"]
    write(tmp_path / "out", "again", overwrite=True)
    assert os.listdir(tmp_path) == ["out"]


# A process with one thread, so that it may fork: each child kills itself at a later step.
KILLED = """
import os, signal, sys
from pathlib import Path
from forametric.utils import outputs
out, step, seen = Path(sys.argv[1]), 0, 0
def audit(event, arguments):
    global seen
    if event in ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "ctypes.dlsym"):
        if "the-output" in str(arguments[0]) or "renameat2" in arguments:
            seen += 1
            if seen == step:
                os.kill(os.getpid(), signal.SIGKILL)
def write(text):
    with outputs.atomic_folder(out, overwrite=True) as temporary:
        (temporary / "images").mkdir()
        (temporary / "images" / "a.png").write_text(text)
        (temporary / "table.csv").write_text(text)
if sys.argv[2] == "two steps":
    outputs.exchange = lambda one, other: False
status, number = 9, 0
while status == 9:
    write("before")
    assert os.listdir(out.parent) == ["the-output"], number
    number += 1
    if not (child := os.fork()):
        step = number
        sys.addaudithook(audit)
        write("after")
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if sys.argv[2] == "one step":
        found = (out / "table.csv").read_text(), (out / "images" / "a.png").read_text()
        assert found[0] == found[1] and (out / "forametric.json").exists(), number
print(number)
"""


@pytest.mark.process
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("how", ["one step", "two steps"])
def test_a_kill_at_any_step_leaves_the_old_folder_or_the_new(how, tmp_path):
    asked = [sys.executable, "-c", KILLED, str(tmp_path / "the-output"), how]
    done = subprocess.run(asked, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20


def test_a_folder_between_two_names_is_restored_by_the_next_writer(tmp_path):
    write(tmp_path / "out", "before")
    (tmp_path / "out").rename(tmp_path / ".out.123-0123abcd.old")
    with pytest.raises(InputError, match="exists already"):
        write(tmp_path / "out")
    assert (tmp_path / "out" / "table.csv").read_text() == "before"


def test_a_file_put_into_the_old_folder_during_the_work_is_kept(tmp_path):
    write(tmp_path / "out")
    with (
        pytest.raises(InputError, match=r"notes\.txt, which Forametric did not write"),
        atomic_folder(tmp_path / "out", overwrite=True),
    ):
        (tmp_path / "out" / "notes.txt").write_text("just now")
    assert sorted(os.listdir(tmp_path / "out")) == [MANIFEST, "images", "notes.txt", "table.csv"]
    assert os.listdir(tmp_path) == ["out"]


def test_leftovers_are_cleared_away_and_folders_of_others_are_not(tmp_path):
    (tmp_path / ".out.1-00000000.partial").mkdir()
    write(tmp_path / ".out.2-00000000.partial")
    write(tmp_path / "notes")
    (tmp_path / ".out.partial").mkdir()
    (tmp_path / ".out.3-00000000.partial").mkdir()
    (tmp_path / ".out.3-00000000.partial" / "mine").touch()
    write(tmp_path / "out")
    assert sorted(os.listdir(tmp_path)) == [
        ".out.3-00000000.partial", ".out.partial", "notes", "out",
    ]  # fmt: skip


# Working folders


def test_a_working_folder_is_kept_for_the_same_run_only(tmp_path):
    for seed, kept in ((1, False), (1, True), (2, False)):
        with resumable_folder(tmp_path / "w", {"seed": seed}, False) as work:
            assert work == tmp_path / "w.unfinished"
            assert (work / "part").exists() == kept
            (work / "part").touch()
    with (
        pytest.raises(InputError, match="an unfinished run with other settings"),
        resumable_folder(tmp_path / "w", {"seed": 3}, False, keep_others=True),
    ):
        pass
    with resumable_folder(tmp_path / "w", {"seed": 2}, False) as work:
        put_in_place(work, tmp_path / "w")
    assert os.listdir(tmp_path) == ["w"]
    assert read_manifest(tmp_path / "w").files == {"part": 0}
    with (
        pytest.raises(InputError, match="exists already"),
        resumable_folder(tmp_path / "w", {"seed": 2}, False),
    ):
        pass


@pytest.mark.parametrize("name", ["notes", "run.json", MANIFEST])
def test_a_users_folder_of_the_same_name_is_refused(name, tmp_path):
    (tmp_path / "w.unfinished").mkdir()
    (tmp_path / "w.unfinished" / name).write_text('{"seed": 1}')
    with (
        pytest.raises(InputError, match="is not a working folder of Forametric"),
        resumable_folder(tmp_path / "w", {"seed": 1}, False),
    ):
        pass
    assert os.listdir(tmp_path / "w.unfinished") == [name]


def test_a_finished_output_is_not_a_working_folder(tmp_path):
    write(tmp_path / "w.unfinished")
    with pytest.raises(InputError, match="is not a working folder"):
        remove_working_folder(tmp_path / "w")
    assert len(contents(tmp_path)) == 3


# One writer


def test_a_second_writer_is_told_who_the_first_is(tmp_path):
    said = []

    def write_too():
        with pytest.raises(InputError) as refused, one_writer(tmp_path / "out"):
            pass
        said.append(str(refused.value))

    with one_writer(tmp_path / "out"), one_writer(tmp_path / "out"):
        other = threading.Thread(target=write_too)
        other.start()
        other.join()
    assert f"process {os.getpid()} on {socket.gethostname()}" in said[0]
    assert "wait until it has ended, or name another output" in said[0]
    assert os.listdir(tmp_path) == []


def test_the_lock_is_one_for_all_names_of_a_folder(tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.chdir(tmp_path)
    with one_writer(tmp_path / "link" / "out"):
        assert os.listdir(tmp_path / "real") == [".out.lock"]
        with one_writer(Path("real/out")) as outermost:
            assert not outermost


HOLDER = """
import sys, time
from pathlib import Path
from forametric.utils.outputs import atomic_folder
with atomic_folder(Path(sys.argv[1]), overwrite=True) as temporary:
    print("writing", flush=True)
    sys.stdin.read()
    (temporary / "table.csv").write_text("by the first")
"""


@pytest.mark.process
def test_of_two_processes_one_writes_and_a_killed_one_does_not_block(tmp_path):
    asked = [sys.executable, "-c", HOLDER, str(tmp_path / "out")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    for end in ("kill", "let it finish"):
        with subprocess.Popen(asked, **pipes) as first:
            assert first.stdout.readline() == "writing\n"
            with pytest.raises(InputError, match=f"is being written by .*process {first.pid} on"):
                write(tmp_path / "out")
            if end == "kill":
                first.kill()
        if end == "kill":
            write(tmp_path / "out", "by the second")
            assert os.listdir(tmp_path) == ["out"]
    assert (tmp_path / "out" / "table.csv").read_text() == "by the first"
    assert os.listdir(tmp_path) == ["out"]


def test_a_damaged_lock_file_blocks_nobody(tmp_path):
    (tmp_path / ".out.lock").write_text("{")
    write(tmp_path / "out")
    assert os.listdir(tmp_path) == ["out"]


def test_a_table_is_not_written_over_another_file(tmp_path):
    import pandas as pd

    table = pd.DataFrame({"a": [1]})
    write_csv(table, tmp_path / "t.csv")
    with pytest.raises(InputError, match="exists already"):
        write_csv(table, tmp_path / "t.csv")
    assert json.dumps((tmp_path / "t.csv").read_text()) == '"a\\n1\\n"'
