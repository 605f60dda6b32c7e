"""A PostgreSQL server of this machine's own, on loopback, with a database for each test."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

USER = "forametric"


@dataclass(frozen=True)
class Server:
    """A running server, its folder, and the command that starts and stops it."""

    port: int
    folder: Path
    control: Callable[..., object]

    def address(self, database: str = "postgres") -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def crash(self) -> None:
        """Stop without finishing anything, as a server does that is killed."""
        self.control("-m", "immediate", "stop")

    def start(self) -> None:
        # -F: not to wait for the disk, which only matters if the whole machine stops
        options = f"-F -h 127.0.0.1 -p {self.port} -k {self.folder}"
        self.control("-l", self.folder / "log", "-o", options, "-w", "start")

    def cut_connections(self, address: str) -> None:
        """End all connections to a database."""
        import psycopg

        query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
        with psycopg.connect(self.address(), autocommit=True) as connection:
            connection.execute(query, [address.rsplit("/", 1)[1]])

    @contextmanager
    def database(self) -> Iterator[str]:
        """Create a database, give its address, and drop it."""
        import psycopg

        name = f"test_{uuid4().hex}"
        with psycopg.connect(self.address(), autocommit=True) as connection:
            # template0: nothing else connects to it, which would make this fail
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
        try:
            yield self.address(name)
        finally:
            with psycopg.connect(self.address(), autocommit=True) as connection:
                connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@contextmanager
def server() -> Iterator[Server]:
    """Start a server; skips the test where PostgreSQL is not installed."""
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
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run([initdb, "-D", folder / "data", "-U", USER, "-A", "trust", "-N"])

    def control(*arguments: object) -> None:
        run([initdb.with_name("pg_ctl"), "-D", folder / "data", *arguments])

    server = Server(port, folder, control)
    server.start()
    try:
        yield server
    finally:
        control("-m", "fast", "stop")
        shutil.rmtree(folder)
