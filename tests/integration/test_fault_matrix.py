"""Verbs under faults: the quick part of the table that experiments/fault_matrix.py makes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.faults import FAULTS, uncovered

SCRIPT = Path(__file__).parents[2] / "experiments" / "fault_matrix.py"
QUICK = ("taxonomy", "split", "record", "export")


def test_every_verb_has_a_row():
    assert uncovered() == set()


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.skipif(sys.platform != "linux", reason="commands are forked, and watched by /proc")
def test_quick_verbs_leave_nothing_half_done_under_any_fault(tiny, tmp_path):
    output = tmp_path / "matrix.json"
    command = [sys.executable, SCRIPT, "--verbs", ",".join(QUICK), "--tiny", tiny.folder]
    done = subprocess.run(
        [*command, "--workers", "2", "--output", output], capture_output=True, text=True
    )
    results = json.loads(output.read_text())
    wrong = {
        f"{verb}, {fault}": cell["outcome"]
        for verb, row in results.items()
        for fault, cell in row.items()
        if not cell["ok"]
    }
    assert not wrong, done.stderr[-2000:]
    assert done.returncode == 0
    assert {fault for row in results.values() for fault in row} == set(FAULTS)
