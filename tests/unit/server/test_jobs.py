"""Work behind the page: what is said when it fails."""

import tempfile
import threading

import pytest

from forametric.errors import InputError
from forametric.server.jobs import Jobs
from forametric.utils import crash


@pytest.fixture
def logs(tmp_path, monkeypatch):
    """The folder for temporary files, of this test's own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(crash, "_logs", {})
    return tmp_path


def _ended(work) -> tuple[str, str]:
    """The state and the message of work that has ended."""
    jobs = Jobs()
    jobs.start("switching", work)
    for _ in range(600):
        job = jobs.states()["switching"]
        if job.state in ("done", "failed"):
            return job.state, job.message
        threading.Event().wait(0.01)
    raise AssertionError(job)


def _raise(error: Exception):
    raise error


def test_an_unforeseen_error_is_a_sentence_and_a_log(logs):
    """Its traceback was once lost."""
    state, message = _ended(lambda: _raise(ZeroDivisionError("unforeseen")))
    (log,) = logs.iterdir()
    assert state == "failed"
    assert message.endswith(str(log))
    assert "Traceback" in log.read_text(encoding="utf-8")


def test_an_expected_error_is_its_sentence_alone(logs):
    assert _ended(lambda: _raise(InputError("no decisions."))) == ("failed", "no decisions.")
    assert not list(logs.iterdir())
