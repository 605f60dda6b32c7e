"""What is printed, on any terminal and with any name; and how commands end when something fails."""

import errno
import io
import json
import logging
import os
import subprocess
import sys
import tempfile
import warnings

import pandas as pd
import pytest

from forametric.cli import main
from forametric.cli._output import LIBRARY_MESSAGES, failure
from forametric.data.collection import Collection
from forametric.utils import crash
from tests.support.cli import forametric, forametric_process
from tests.support.verbs import command

__all__ = ["command"]
WRITE_AT_THE_END = ["taxonomy", "check", "split", "export", "import", "apply-decisions", "map"]


@pytest.fixture
def logs(tmp_path, monkeypatch):
    """The folder for temporary files, of this test's own."""
    folder = tmp_path / "logs"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr(crash, "_logs", {})
    return folder


def _raising(error: BaseException):
    def fail(*_, **__):
        raise error

    return fail


def _status(out: io.TextIOBase, err: io.TextIOBase, *arguments: object) -> int:
    """Run a command with these streams; its exit status."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["forametric", *map(str, arguments)])
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        with pytest.raises(SystemExit) as end:
            main()
    return end.value.code


# Failures


@pytest.mark.parametrize("verb", WRITE_AT_THE_END)
def test_an_unforeseen_error_is_a_sentence_a_log_and_a_status(verb, command, logs, monkeypatch):
    """A traceback once ended with status 1, which means that some images were skipped."""
    arguments = command(verb)
    monkeypatch.setattr("os.replace", _raising(ZeroDivisionError("unforeseen")))
    done = forametric(*arguments)
    assert done.returncode == 70
    (log,) = logs.glob("forametric-error-*.log")
    assert done.stderr.splitlines()[-1].endswith(str(log))
    assert "ZeroDivisionError: unforeseen" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Traceback" in log.read_text(encoding="utf-8")
    assert done.stdout == ""
    left = [p.name for p in logs.parent.glob("out*")]
    assert all(name.endswith(".unfinished") for name in left), left
    assert not [p for p in logs.parent.iterdir() if ".partial" in p.name]


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (KeyboardInterrupt(), 130, ""),
        (EOFError("a file ends too early"), 70, "EOFError"),
        (RecursionError("too deep"), 70, "RecursionError"),
        (MemoryError(), 2, "memory is exhausted"),
        (OSError(errno.ENOSPC, "No space left", "x.png"), 2, "the disk is full (x.png); nothing"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 141, ""),
    ],
)
def test_every_kind_of_end_has_its_status(error, status, words, logs, monkeypatch):
    monkeypatch.setattr("forametric.describe", _raising(error), raising=False)
    done = forametric("info")
    assert (done.returncode, done.stdout) == (status, "")
    assert words in done.stderr
    assert bool(done.stderr) == bool(words)


def test_only_a_failed_write_says_that_nothing_was_kept():
    """It was also said of inputs, and when only the result could not be printed."""
    refused = failure(PermissionError(errno.EACCES, "Permission denied", "in.csv"))
    assert refused == "Permission denied (in.csv)."
    failed = failure(OSError(errno.EROFS, "Read-only file system", "out.csv"))
    assert failed.endswith("nothing half-written was kept.")


def test_a_result_that_cannot_be_printed_does_not_undo_the_work(shells_folder, tmp_path):
    class Full(io.StringIO):
        def write(self, text):
            raise OSError(errno.ENOSPC, "No space left on device")

    error = io.StringIO()
    assert _status(Full(), error, "split", shells_folder, "-o", tmp_path / "s.csv") == 74
    assert "the work is done" in error.getvalue()
    assert "nothing half-written" not in error.getvalue()
    assert len(pd.read_csv(tmp_path / "s.csv")) == 48


@pytest.mark.process
@pytest.mark.skipif(sys.platform == "win32", reason="pipes end differently")
def test_a_reader_that_leaves_is_no_error():
    code = "from forametric.cli import main; main()"
    shell = f"{sys.executable} -c '{code}' recipes --json | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True)
    assert done.stdout.strip() == "141"
    assert done.stderr == ""


def test_an_empty_argument_is_refused(shells_folder, tmp_path):
    for arguments in (["split", shells_folder, "-o", ""], ["split", "", "-o", tmp_path / "s.csv"]):
        done = forametric(*arguments, cwd=tmp_path)
        assert done.returncode == 2
        assert "an argument is empty" in done.stderr
    assert not list(tmp_path.iterdir())


# Names


NAMES = ["core [old]", "missing[/b].png", "[red]", "a:sun:b", "x\x1b[31my", "bell\x07", "\u202egnp"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_shown_as_it_is_and_never_obeyed(name, picture, tmp_path):
    """Square brackets were taken for markup and vanished, or ended in a traceback."""
    picture("in/1.png", 1)
    (tmp_path / "in" / "t.csv").write_text(f"image,label\n1.png,{name}\n{name}.png,x\n")
    done = forametric("import", tmp_path / "in" / "t.csv", "-o", tmp_path / name)
    assert done.returncode == 1, done.stderr
    shown = name.encode("unicode_escape").decode()
    if name.isprintable():  # a table with control characters is cleaned
        assert f"skipped {shown}.png" in done.stderr
    assert f"/{shown}" in done.stdout
    info = forametric("info", tmp_path / name)
    assert info.returncode == 0
    assert shown in info.stdout
    wrong = forametric("split", tmp_path / name, f"--{name}")
    assert shown in wrong.stderr
    assert not {"\x1b", "\x07", "\u202e"} & set(done.stdout + done.stderr + info.stdout)
    assert not {"\x1b", "\x07", "\u202e"} & set(wrong.stdout + wrong.stderr)


def test_a_reviewer_and_a_taxon_in_brackets_are_recorded(shells, shells_folder, tmp_path):
    table = pd.DataFrame({"id": shells.specimens["id"][:3], "expert": "[/x] sp."})
    table.to_csv(tmp_path / "t.csv", index=False)
    store = tmp_path / "d [1].sqlite"
    asked = ["record", shells_folder, tmp_path / "t.csv", "--store", store, "--reviewer", "[/K]"]
    done = forametric(*asked)
    assert done.returncode == 0, done.stderr
    assert "d [1].sqlite" in done.stdout
    assert forametric("decisions", "--store", store).returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux")
def test_a_path_that_is_not_utf_8_is_shown_replaced(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/sp\xe9")
    done = forametric("info", path)
    assert done.returncode == 2
    assert r"sp\xe9" in done.stderr


# Encodings


def _encoded(encoding: str, *arguments: object) -> tuple[int, bytes, bytes]:
    """The status and the bytes of a command, of a terminal with some encoding."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding, "strict") for _ in range(2))
    status = _status(out, err, *arguments)
    for stream in (out, err):
        stream.flush()
    return status, out.buffer.getvalue(), err.buffer.getvalue()


@pytest.fixture
def greek(shells, tmp_path):
    """A collection with taxa of many scripts."""
    names = ["Ελλάδα ωμέγα", "可可 可", "Ёлка м", "H′ [µm]"]
    table = shells.specimens.assign(taxon=[names[n % 4] for n in range(len(shells))])
    Collection(table, shells.images, shells.info).save(tmp_path / "greek")
    return tmp_path / "greek"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8", "utf-16"])
@pytest.mark.parametrize("verb", ["info", "check", "recipes", "split", "--help"])
def test_every_encoding_of_a_terminal_is_served(encoding, verb, greek, tmp_path):
    """A Windows terminal once ended commands with a traceback after their work was done."""
    arguments = {"info": [greek], "check": [greek], "split": [greek, "-o", tmp_path / "s.csv"]}
    status, out, err = _encoded(encoding, verb, *arguments.get(verb, []))
    assert status == 0, err
    out.decode(encoding)
    if verb == "info" and encoding == "utf-8":
        assert "Ελλάδα ωμέγα" in out.decode()


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_json_is_whole_in_every_encoding(encoding, greek):
    status, out, _ = _encoded(encoding, "info", greek, "--json")
    assert status == 0
    assert "Ελλάδα ωμέγα" in json.loads(out)["taxa"]


@pytest.mark.process
@pytest.mark.skipif(sys.platform == "win32", reason="a locale of Unix")
def test_the_locale_c_loses_nothing(greek):
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = forametric_process("info", greek, env=os.environ | locale)
    assert done.returncode == 0, done.stderr
    assert r"\u0395\u03bb\u03bb" in done.stdout
    table = forametric_process("check", greek, "-o", greek.parent / "o", env=os.environ | locale)
    assert table.returncode == 0, table.stderr


def test_json_has_null_where_there_is_no_number(command):
    """`segment` without a scale printed NaN, which no parser but Python's takes."""

    def refuse(constant):
        raise AssertionError(constant)

    arguments = [a for a in command("segment") if a not in ("--um-per-px", "3")]
    done = forametric(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout, parse_constant=refuse)


# Messages of the library and of others


def test_messages_of_libraries_are_few_and_safe(monkeypatch):
    """Thousands of lines of other libraries once hid our own."""

    def noisy(_folder):
        for number in range(50):
            logging.getLogger("tifffile").warning("broken \x1b[31m %d", number)
            warnings.warn_explicit(f"odd {number}", UserWarning, "a.py", number)
            logging.getLogger("forametric.x").warning("ours [%d]", number)
        return {"a": 1}

    monkeypatch.setattr("forametric.describe", noisy, raising=False)
    done = forametric("info")
    lines = done.stderr.splitlines()
    assert sum("broken" in line for line in lines) == LIBRARY_MESSAGES
    assert sum("odd" in line for line in lines) <= LIBRARY_MESSAGES
    assert [line for line in lines if "ours" in line][-1] == "warning: ours [49]"
    assert "\x1b" not in done.stderr
    assert logging.getLogger().handlers == [
        h for h in logging.getLogger().handlers if type(h).__module__ != "forametric.cli._output"
    ]


def test_a_logged_traceback_goes_to_a_log(logs, monkeypatch):
    """So does what the review server meets."""

    def survive(_folder):
        try:
            raise ZeroDivisionError("survived")
        except ZeroDivisionError:
            logging.getLogger("forametric.server").exception("error 1 in GET /")
        return {"a": 1}

    monkeypatch.setattr("forametric.describe", survive, raising=False)
    done = forametric("info")
    assert done.returncode == 0
    (log,) = logs.iterdir()
    assert done.stderr.startswith("error: error 1 in GET /: ")
    assert str(log) in done.stderr
    assert len(done.stderr.splitlines()) == 1
