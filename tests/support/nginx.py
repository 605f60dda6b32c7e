"""A real nginx with TLS in front of a review server, with the configuration of docs/review.md."""

import os
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NAME = "review.example.org"
DOCS = Path(__file__).parents[2] / "docs" / "review.md"
PLACES = "/usr/sbin:/usr/local/sbin:" + os.environ.get("PATH", "")
FRAME = """
daemon off; pid {folder}/pid; error_log stderr; {user}
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {site}
}}
"""


def free_port() -> int:
    """A port that nobody uses."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate that signs itself, and its key."""
    certificate, key = folder / "review.pem", folder / "review.key"
    command = [
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
        "-nodes", "-days", "2", "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}",
        "-keyout", str(key), "-out", str(certificate),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


@contextmanager
def nginx(folder: Path, port: int, server_port: int) -> Iterator[ssl.SSLContext]:
    """Serve a review server over HTTPS on a port; gives what clients trust.

    Skips the test where nginx or openssl is not installed.
    """
    program = shutil.which("nginx", path=PLACES)
    if not program or not shutil.which("openssl"):
        pytest.skip("nginx and openssl are not both installed")
    certificate, key = _certificate(folder)
    blocks = re.findall(r"```nginx\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    site = blocks[0]
    for documented, used in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("listen 80", f"listen 127.0.0.1:{free_port()}"),
        ("/etc/ssl/review.pem", str(certificate)),
        ("/etc/ssl/review.key", str(key)),
        ("127.0.0.1:8765", f"127.0.0.1:{server_port}"),
    ):
        assert site.count(documented) == 1, documented
        site = site.replace(documented, used)
    user = "user root;" if os.geteuid() == 0 else ""
    configuration = folder / "nginx.conf"
    configuration.write_text(FRAME.format(folder=folder, user=user, site=site))
    process = subprocess.Popen(
        [program, "-p", str(folder), "-c", str(configuration)], stderr=subprocess.PIPE, text=True
    )
    try:
        yield ssl.create_default_context(cafile=str(certificate))
    finally:
        process.terminate()
        process.communicate(timeout=20)
