"""A server in a process of its own: open connections, signals, and a proxy in front."""

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys

import httpx
import pytest

from forametric.server.access.requirements import KEY_HEADER
from tests.support.nginx import NAME, free_port, nginx
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
            batch = {"reviewer": "A", "decisions": decisions}
            recorded = client.post("/api/decisions", json=batch).json()
            assert len(recorded["numbers"]) == 20
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


def test_a_page_behind_nginx_with_https_works_and_those_of_others_do_not(folder, tmp_path):
    """Once the server refused the proxy's name, and every POST that came through it."""
    port, server_port = free_port(), free_port()
    public, address = f"https://{NAME}:{port}", f"http://127.0.0.1:{server_port}"
    arguments = ["--port", str(server_port), "--proxy", public]
    with running(folder, TOKEN, *arguments, address=address):
        with nginx(tmp_path, port, server_port) as trusted, _client(port, trusted) as client:
            wait_until(lambda: _answer(client, "/login"))
            opened = client.post("/login", data={"password": TOKEN})
            assert opened.status_code == 303
            cookie = opened.headers["set-cookie"]
            assert "secure" in cookie.lower().split("; ")
            assert cookie.startswith("__Host-")
            client.headers["Cookie"] = cookie.split(";")[0]
            assert client.get("/").status_code == 200
            key = opened.headers["location"].partition("#key=")[2]
            own = {"Origin": public, "Sec-Fetch-Site": "same-origin", KEY_HEADER: key}
            undo = {"url": "/api/decisions/undo", "json": {"reviewer": "A"}}
            assert client.post(**undo, headers=own).status_code == 200
            for origin in ("https://evil.example", public.replace("https", "http"), "null"):
                assert client.post(**undo, headers=own | {"Origin": origin}).status_code == 403
            upload = client.post("/api/identifications", content=bytes(2**21), headers=own)
            assert upload.status_code == 400
            assert "image" in upload.json()["detail"]
        direct = httpx.get(f"{address}/", headers={"Host": "evil.example"})
        assert direct.status_code == 403
        assert "has to pass the header Host on" in direct.json()["detail"]


def _client(port: int, trusted: ssl.SSLContext) -> httpx.Client:
    """A client that takes this machine for the public name."""
    client = httpx.Client(
        base_url=f"https://127.0.0.1:{port}", headers={"Host": f"{NAME}:{port}"}, verify=trusted
    )
    client.event_hooks["request"] = [lambda request: request.extensions.update(sni_hostname=NAME)]
    return client


def _answer(client: httpx.Client, path: str) -> httpx.Response | None:
    try:
        return client.get(path)
    except httpx.ConnectError:  # nginx is starting
        return None
