"""Review projects, sessions and servers for tests: fixtures to import into a conftest, helpers."""

import asyncio
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from starlette.testclient import TestClient

from forametric.review.project import Project, embed_project
from forametric.review.workspace import ReviewWorkspace
from forametric.server.access.accounts import SingleUser
from forametric.server.access.database import AccessDatabase
from forametric.server.access.middleware import Access
from forametric.server.app import make_app
from forametric.server.session import ReviewSession

Result = TypeVar("Result")
TOKEN = "a-token-for-tests"
ADDRESS = "http://127.0.0.1:8765"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="session")
def prepared_project(calibrated_folder, more_shells, shells_folder, tmp_path_factory) -> Path:
    """A project with its embeddings and its map; tests copy it."""
    folder = tmp_path_factory.mktemp("review") / "project"
    project = Project.create(
        folder, more_shells, calibrated_folder, reference_images=[shells_folder], depth="depth"
    )
    embed_project(project)
    return folder


@pytest.fixture
def folder(prepared_project, tmp_path_factory) -> Iterator[Path]:
    """A copy of the prepared project, next to it since its paths are relative."""
    copy = prepared_project.with_name(tmp_path_factory.mktemp("p").name)
    shutil.copytree(prepared_project, copy)
    yield copy
    shutil.rmtree(copy, ignore_errors=True)  # SQLite may be removing its log


@pytest.fixture
def workspace(folder) -> Iterator[ReviewWorkspace]:
    """A workspace on a copy of the prepared project."""
    project = Project.open(folder)
    found = ReviewWorkspace(embed_project(project), project.open_store(), project.depth)
    yield found
    found.store.close()


@pytest.fixture
def session(folder) -> Iterator[ReviewSession]:
    """A session on a copy of the prepared project."""
    project = Project.open(folder)
    found = ReviewSession.open(project, project.open_store())
    yield found
    found.close()


@pytest.fixture
def client(session) -> Iterator[TestClient]:
    """A client of that session that has the token."""
    with client_of(session) as found:
        yield found


def client_of(session: ReviewSession) -> TestClient:
    """A client that has the token."""
    return TestClient(make_app(session, access()), base_url=ADDRESS, headers=HEADERS)


def access(announce=None) -> Access:
    """Access for whoever has the token, or a link."""
    return Access(SingleUser(TOKEN), AccessDatabase.temporary(), announce)


def wait_for(session: ReviewSession, kind: str):
    """Wait until work has ended; returns its job."""
    for _ in range(1200):
        job = session.jobs.states()[kind]
        if job.state in ("done", "failed"):
            return job
        threading.Event().wait(0.1)
    raise AssertionError(f"{kind} does not end: {job}")


def next_specimens(client, reviewer: str = "A", count: int = 5) -> list[dict]:
    """The next specimens of a reviewer's queue."""
    got = client.get("/api/queue", params={"reviewer": reviewer, "count": count})
    return got.json()["specimens"]


def decide(client, specimen: str, taxon: str = "", verdict: str = "taxon", reviewer: str = "A"):
    """Record one decision; returns the response."""
    decision = {"specimen": specimen, "verdict": verdict, "taxon": taxon}
    return client.post("/api/decisions", json={"reviewer": reviewer, "decisions": [decision]})


def unpack(response) -> tuple[dict, bytes]:
    """The JSON text and the numbers of a packed response."""
    length = struct.unpack("<I", response.content[:4])[0]
    return json.loads(response.content[4 : 4 + length]), response.content[4 + length :]


@contextmanager
def running(
    project: Path, token: str, *arguments: str, open_files: int = 0, address: str = ""
) -> Iterator[tuple[str, subprocess.Popen]]:
    """Serve a project on a free port, in a process of its own that may be killed.

    Gives its address and the process, which may have a limit of open files. Behind a proxy it
    prints another address than that at which it listens.
    """
    limited = ["sh", "-c", f'ulimit -n {open_files}; exec "$@"', "sh"] if open_files else []
    process = subprocess.Popen(
        [*limited, sys.executable, "-m", "forametric", "review", str(project), "--no-browser",
         *(arguments or ("--port", "0"))],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"FORAMETRIC_TOKEN": token, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    try:
        line = process.stdout.readline()
        found = re.search(r"https?://[\w.:\[\]]+", line)
        assert found, line + process.stderr.read()
        address = address or found.group()
        _wait_until_it_answers(address)
        yield address, process
    finally:
        process.kill()
        process.communicate()


def _wait_until_it_answers(address: str) -> None:
    import httpx

    for _ in range(100):
        try:
            httpx.get(address)
            return
        except httpx.TransportError:
            threading.Event().wait(0.1)
    raise AssertionError(f"{address} does not answer")


def wait_until(condition):
    """Wait until a condition is true; returns what it gave."""
    for _ in range(600):
        if found := condition():
            return found
        threading.Event().wait(0.1)
    raise AssertionError("it does not become true")


def run_alone(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run it in a thread of its own: the browser of other tests leaves a loop in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()
