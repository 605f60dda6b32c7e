"""A server in a process of its own: open connections, signals, and a proxy in front."""

import contextlib
import os
import signal
import socket
import subprocess
import sys

import httpx
import pytest

from tests.support.serving import HEADERS, TOKEN, running, wait_until

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.platform == "win32", reason="signals and limits of POSIX"),
]


def test_half_open_connections_do_not_silence_a_server_with_few_files(folder):
    """Once 300 of them did, and it wrote a line of trouble for each, again and again."""
    with running(folder, TOKEN, open_files=256) as (address, process):
        host, port = address.removeprefix("http://").split(":")
        with contextlib.ExitStack() as opened:
            for n in range(300):
                connection = socket.create_connection((host, int(port)), timeout=20)
                opened.enter_context(connection)
                connection.sendall(b"GET / HTTP/1.1\r\nX" if n % 2 else b"")
            for _ in range(10):
                got = httpx.get(f"{address}/api/status", headers=HEADERS, timeout=20)
                assert got.status_code == 200
        process.terminate()
        _, errors = process.communicate(timeout=60)
    assert "Traceback" not in errors
    assert len(errors) < 2000


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_training_with_the_server_and_keeps_the_decisions(folder, sent):
    """Once the training went on alone for hours."""
    with running(folder, TOKEN) as (address, process):
        with httpx.Client(base_url=address, headers=HEADERS, timeout=60) as client:
            queue = client.get("/api/queue?reviewer=A&count=20").json()["specimens"]
            decisions = [
                {"specimen": one["id"], "verdict": "taxon", "taxon": one["suggested"]}
                for one in queue
            ]
            client.post("/api/decisions", json={"reviewer": "A", "decisions": decisions})
            assert client.post("/api/models").json() == {"started": True}
        trainings = wait_until(lambda: _children(process.pid))
        process.send_signal(sent)
        process.wait(timeout=60)
    assert not [child for child in trainings if _is_running(child)]
    with running(folder, TOKEN) as (address, _):
        status = httpx.get(f"{address}/api/status", headers=HEADERS).json()
        assert status["progress"]["settled"] == 20


def _children(process: int) -> list[int]:
    listed = subprocess.run(
        ["ps", "-ww", "-A", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    )
    rows = [line.split(None, 2) for line in listed.stdout.splitlines()]
    return [int(row[0]) for row in rows if int(row[1]) == process and "spawn_main" in row[2]]


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
