"""Uploads and exports wait in queues that have an end, and do not keep others waiting."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from starlette.requests import ClientDisconnect

from forametric.errors import InputError
from forametric.server.bounded_work import BoundedWork, BusyError
from tests.support.serving import run_alone


class _Client:
    """A request of a client that leaves when told to."""

    def __init__(self) -> None:
        self.left = asyncio.Event()

    async def receive(self) -> dict:
        await self.left.wait()
        return {"type": "http.disconnect"}


def test_work_of_a_client_that_has_left_is_not_begun():
    queue, release, done = BoundedWork("uploads", workers=1, places=9), threading.Event(), []

    async def scenario():
        stays, leaves = _Client(), _Client()
        first = asyncio.create_task(queue.run(stays, release.wait))
        second = asyncio.create_task(queue.run(leaves, lambda: done.append("second")))
        third = asyncio.create_task(queue.run(_Client(), lambda: done.append("third")))
        await asyncio.sleep(0)
        leaves.left.set()
        with pytest.raises(ClientDisconnect):
            await second
        release.set()
        await asyncio.gather(first, third)

    run_alone(scenario())
    queue.close()
    assert done == ["third"]


def test_a_client_that_leaves_is_not_waited_for():
    queue, release = BoundedWork("uploads", workers=1, places=1), threading.Event()

    async def scenario():
        client = _Client()
        task = asyncio.create_task(queue.run(client, release.wait))
        await asyncio.sleep(0)
        client.left.set()
        with pytest.raises(ClientDisconnect):
            await task
        release.set()

    run_alone(scenario())
    queue.close()


def test_an_error_of_the_work_arrives_and_frees_its_place():
    queue = BoundedWork("uploads", workers=1, places=1)

    def fail():
        raise InputError("no image")

    async def scenario():
        for _ in range(3):
            with pytest.raises(InputError, match="no image"), queue.place():
                await queue.run(_Client(), fail)

    run_alone(scenario())
    queue.close()


def test_a_full_queue_refuses():
    queue = BoundedWork("uploads", workers=1, places=2)
    with queue.place(), queue.place(), pytest.raises(BusyError, match="2 uploads"), queue.place():
        pass
    with queue.place():
        pass
    queue.close()


def test_the_server_answers_while_uploads_wait(client, session, monkeypatch):
    """Uploads once took all threads of the server, those of clients that had left as well."""
    release, begun = threading.Event(), threading.Event()
    identify = session.identify

    def slow(path):
        begun.set()
        assert release.wait(60)
        return identify(path)

    monkeypatch.setattr(session, "identify", slow)
    image = session.workspace.collection.path(0).read_bytes()
    places = session.uploads.places
    with ThreadPoolExecutor(60) as threads:
        sent = [
            threads.submit(client.post, "/api/identifications", content=image) for _ in range(45)
        ]
        refused = []
        while len(refused) < 45 - places:
            refused = [request.result() for request in sent if request.done()]
            threading.Event().wait(0.01)
        assert begun.wait(60)
        assert client.get("/api/status").status_code == 200
        release.set()
        answers = [request.result() for request in sent]
    assert [answer.status_code for answer in refused] == [503] * (45 - places)
    assert int(refused[0].headers["retry-after"]) > 0
    assert "uploads are under way" in refused[0].json()["detail"]
    assert sorted(answer.status_code for answer in answers) == [200] * places + [503] * len(refused)
