"""The log of an unforeseen error."""

import errno
import stat
import sys
import tempfile
from pathlib import Path

import pytest

from forametric.utils import crash
from forametric.utils.crash import report_crash, without_secrets


@pytest.fixture(autouse=True)
def logs(tmp_path, monkeypatch):
    """The folder for temporary files is one of this test's own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(crash, "_logs", {})
    return tmp_path


def _error(text: str = "at all") -> Exception:
    try:
        raise ZeroDivisionError(text)
    except ZeroDivisionError as error:
        return error


def test_the_sentence_names_a_log_with_the_traceback(logs):
    sentence = report_crash(_error())
    (log,) = logs.iterdir()
    assert sentence.endswith(str(log))
    assert "ZeroDivisionError: at all" in sentence
    text = log.read_text(encoding="utf-8")
    for part in ("Traceback", "test_crash.py", "forametric ", "Python ", "command: "):
        assert part in text
    assert stat.S_IMODE(log.stat().st_mode) == 0o600, "paths and names are nobody else's business"


def test_an_error_that_comes_again_has_one_log(logs):
    assert report_crash(_error()) == report_crash(_error())
    assert len(list(logs.iterdir())) == 1


def test_passwords_and_tokens_are_left_out(logs, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["forametric", "--store", "postgresql://lee:secret@host/core"])
    sentence = report_crash(_error("http://127.0.0.1:8765/?token=secret and more"))
    text = Path(sentence.split()[-1]).read_text()
    assert "secret" not in text + sentence
    assert "and more" in text
    assert without_secrets("http://host:80/a@b") == "http://host:80/a@b"


@pytest.mark.parametrize("fault", ["no folder", "full disk"])
def test_without_a_place_for_the_log_the_traceback_is_shown(logs, monkeypatch, capsys, fault):
    def refuse(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    target = (tempfile, "mkstemp") if fault == "no folder" else (crash.os, "fdopen")
    monkeypatch.setattr(*target, refuse)
    assert "what stands above" in report_crash(_error("\x1b[31m"))
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert "\x1b" not in shown
    assert not list(logs.iterdir())
