"""Work for which a client waits and which takes memory: little at once, in a bounded queue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from forametric.server.workers import Workers

Result = TypeVar("Result")


class BusyError(Exception):
    """The queue is full; the message says of what."""


class BoundedWork:
    """A queue of work for clients.

    The work runs in threads of its own, so that other requests do not wait for it. Where a client
    has left, its work is not begun.

    Parameters
    ----------
    name : str
        What is done, for the message of the refusal.
    workers : int
        Pieces of work at once.
    places : int
        Pieces that wait or run; more are refused.
    """

    def __init__(self, name: str, *, workers: int, places: int) -> None:
        self.name, self.places = name, places
        self._taken = 0
        self._workers = Workers(name, workers)

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place in the queue, to be taken before the body of a request is read.

        Raises
        ------
        BusyError
            When all places are taken.
        """
        if self._taken >= self.places:
            raise BusyError(f"{self.places} {self.name} are under way already; ask again later.")
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1

    async def run(self, request: Request, work: Callable[[], Result]) -> Result:
        """Do some work for a request whose body has been read.

        Raises
        ------
        ClientDisconnect
            When the client left before the result was there.
        """
        result = asyncio.wrap_future(self._workers.submit(work))
        left = asyncio.create_task(_left(request))
        try:
            either: set[asyncio.Future[Any]] = {result, left}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not result.done():
                raise ClientDisconnect
            return result.result()
        finally:
            result.cancel()  # so that it is not begun, if it has not been
            left.cancel()

    def close(self) -> None:
        """Begin nothing more."""
        self._workers.stop()


async def _left(request: Request) -> None:
    """Return when the client has left."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
