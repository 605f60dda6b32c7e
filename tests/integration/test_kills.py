"""What is killed half-way leaves nothing half-written, and the same command does the rest."""

import os
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from forametric.data.collection import Collection
from forametric.data.embeddings import read_vectors
from forametric.model.embed_collection import embed_to_file
from forametric.model.model import Model
from tests.support.cli import forametric

pytestmark = pytest.mark.process


def test_an_import_killed_before_its_last_file_leaves_no_collection(shells, tmp_path):
    script = (
        "import os, signal, forametric.data.collection as c\n"
        "c.write_json = lambda *a: os.kill(os.getpid(), signal.SIGKILL)\n"
        "from forametric.data.importers import import_collection\n"
        f"import_collection({str(shells.images)!r}, {str(tmp_path / 'out')!r})\n"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    assert forametric("import", shells.images, "-o", tmp_path / "out").returncode == 0
    assert sorted(os.listdir(tmp_path)) == ["out"]


# The command line, which kills itself when it opens or moves a file for the NUMBERth time: the
# moments are the same on every machine, and lie in every stage of the work.
SUICIDAL = """
import os, signal, sys
target, number = sys.argv[1], int(sys.argv[2])
seen = 0
def audit(event, arguments):
    global seen
    if event in ("open", "os.rename", "os.replace", "os.remove", "shutil.rmtree"):
        if target in str(arguments[0]):
            seen += 1
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(audit)
sys.argv = ["forametric", *sys.argv[3:]]
from forametric.cli import main
main()
"""
KILLS = 20


@pytest.mark.slow
def test_twenty_kills_lose_and_double_nothing(model_folder, many, tmp_path):
    """SIGKILL in every stage of an embedding, which then comes to the same rows."""
    wanted = tmp_path / "whole.parquet"
    skipped = embed_to_file(Model.load(model_folder), Collection.open(many), wanted)
    output = tmp_path / "v.parquet"
    command = ["embed", str(model_folder), str(many), "-o", str(output)]
    killed = 0
    for number in range(1, KILLS + 1):
        done = subprocess.run(
            [sys.executable, "-c", SUICIDAL, "v.parquet", str(number), *command],
            capture_output=True, text=True,
        )  # fmt: skip
        killed += done.returncode == -signal.SIGKILL
        if output.exists():
            _same_rows(output, wanted)
            output.unlink()
            (tmp_path / "v.skipped.csv").unlink(missing_ok=True)
    assert killed >= 5, killed
    done = forametric(*command)
    assert done.returncode == 1, "one image is broken"
    assert list(skipped["image"]) == list(pd.read_csv(tmp_path / "v.skipped.csv")["image"])
    _same_rows(output, wanted)


def _same_rows(path, wanted):
    (a, x), (b, y) = read_vectors(path), read_vectors(wanted)
    assert list(a["id"]) == list(b["id"])
    assert np.allclose(x, y, atol=1e-5)
