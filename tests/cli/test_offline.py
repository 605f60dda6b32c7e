"""Nothing leaves the machine without being asked: no connection, no look-up, no file at home."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from forametric.utils.offline import SWITCHES, switch_reports_off
from tests.support.cli import forametric
from tests.support.verbs import ASKS, all_verbs, command, each_verb

__all__ = ["command"]
VERBS = list(all_verbs())


CACHES = (".cache/matplotlib", ".config/matplotlib")  # its list of fonts; the README says so


def _left_in(home: Path) -> list[str]:
    names = [str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()]
    return [name for name in names if not name.startswith(CACHES)]


@pytest.fixture
def tried(monkeypatch):
    """Sockets connect to nothing, and names are not looked up; the attempts are recorded."""
    attempts: list[object] = []

    def refuse(*arguments, **_):
        attempts.append(arguments[1] if isinstance(arguments[0], socket.socket) else arguments[0])
        raise OSError("no network in this test")

    for name in ("connect", "connect_ex", "sendto", "sendmsg"):
        monkeypatch.setattr(socket.socket, name, refuse, raising=False)
    for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "getfqdn"):
        monkeypatch.setattr(socket, name, refuse)
    return attempts


@pytest.mark.parametrize("verb", each_verb([v for v in VERBS if v not in ASKS]))
def test_no_verb_opens_a_connection_or_writes_at_home(verb, command, tried, tmp_path):
    arguments = command(verb)
    home = tmp_path / "home"
    home.mkdir()
    done = forametric(*arguments, env={"HOME": str(home)})
    assert done.returncode == 0, done.stderr
    assert tried == []
    assert _left_in(home) == []


def test_download_asks_its_site_alone(command, tried):
    done = forametric(*command("download"))
    assert done.returncode == 2
    assert set(tried) == {"endlessforams.org"}


def test_switches_that_a_user_has_set_are_kept(monkeypatch):
    name, value = next(iter(SWITCHES.items()))
    for switch in SWITCHES:
        monkeypatch.delenv(switch, raising=False)
    monkeypatch.setenv(name, "asked for")
    switch_reports_off()
    assert os.environ[name] == "asked for" != value
    assert all(os.environ[switch] for switch in SWITCHES)


# In a process of its own, so that imports count, and what libraries do below Python.
RUN = """
import json, sys
tried = []
def record(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        tried.append([event, str(arguments[1:])])
sys.addaudithook(record)
from forametric.cli import main
for sys.argv in json.loads(sys.argv[1]):
    try:
        main()
    except SystemExit as end:
        assert not end.code, sys.argv
print("TRIED", json.dumps(tried))
"""


def _run(verbs, command, tmp_path) -> tuple[str, str]:
    """Run verbs in one process, in an empty home; what it tried in Python and in the kernel."""
    home, trace = tmp_path / "home", tmp_path / "trace"
    home.mkdir()
    commands = [["forametric", *command(verb)] for verb in verbs]
    for folder in tmp_path.glob("out*"):
        shutil.rmtree(folder) if folder.is_dir() else folder.unlink()
    for arguments in commands:  # each its own output
        arguments[:] = [a.replace("/out", f"/out-{arguments[1]}") for a in arguments]
    strace = ["strace", "-f", "-qq", "-e", "trace=connect,sendto,sendmsg,sendmmsg", "-o", trace]
    before = strace if shutil.which("strace") else []
    kept = {k: v for k, v in os.environ.items() if k not in ("CI", *SWITCHES)}
    for variable in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR"):
        kept.pop(variable, None)
    done = subprocess.run(
        [*before, sys.executable, "-c", RUN, json.dumps(commands)],
        capture_output=True, text=True, env=kept | {"HOME": str(home)}, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert _left_in(home) == []
    calls = trace.read_text().splitlines() if trace.exists() else []
    tried = next(line for line in done.stdout.splitlines() if line.startswith("TRIED"))
    return tried, "\n".join(line for line in calls if "AF_INET" in line)


@pytest.mark.process
def test_a_process_that_loads_a_model_and_draws_sends_nothing(command, tmp_path):
    """Importing OpenVINO once reported to an analytics host and left a number at home."""
    verbs = ["identify", "map", "assemblage", "split"]
    assert _run(verbs, command, tmp_path) == ("TRIED []", "")


@pytest.mark.process
@pytest.mark.slow
def test_a_process_that_trains_sends_nothing(command, tmp_path):
    assert _run(["train", "evaluate"], command, tmp_path) == ("TRIED []", "")


@pytest.mark.process
def test_openvino_is_imported_without_its_converter():
    code = (
        "import sys\n"
        "from forametric.utils.offline import import_openvino\n"
        "import_openvino().Core()\n"
        "print([m for m in sys.modules if 'telemetry' in m or 'ovc' in m])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
