"""Models run where PyTorch is not installed: hidden from the import system, then for real."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from forametric.data.collection import Collection

pytestmark = pytest.mark.process

LIGHT = """
import sys
from importlib.machinery import PathFinder

class Without:
    def find_spec(name, path=None, target=None):
        hidden = ("torch", "timm", "lightning_fabric", "safetensors", "onnx")
        return None if name.split(".")[0] in hidden else PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Without
from forametric.cli import main
for command in COMMANDS:
    sys.argv = ["forametric", *command]
    try:
        main()
    except SystemExit as end:
        print("STATUS", command[0], end.code or 0, flush=True)
    else:
        print("STATUS", command[0], 0, flush=True)
"""


def test_a_model_identifies_maps_and_exports_without_pytorch(
    model_folder, shells_folder, split_file, tmp_path
):
    names = tmp_path / "names.csv"
    commands = [
        ("identify", model_folder, shells_folder, "-o", names),
        ("map", model_folder, shells_folder, "-o", tmp_path / "map.png"),
        ("discover", model_folder, shells_folder, "--all", "-o", tmp_path / "groups"),
        ("embed", model_folder, shells_folder, "-o", tmp_path / "v.parquet"),
        ("export", shells_folder, "--identifications", names, "--model", model_folder,
         "--format", "csv", "-o", tmp_path / "out.csv"),
        ("train", shells_folder, "--split", split_file, "-o", tmp_path / "m"),
    ]  # fmt: skip
    listed = repr([[str(word) for word in command] for command in commands])
    done = subprocess.run(
        [sys.executable, "-c", LIGHT.replace("COMMANDS", listed)], capture_output=True, text=True
    )
    ended = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("STATUS")]
    expected = [[command[0], "0"] for command in commands[:-1]] + [["train", "2"]]
    assert ended == expected, done.stderr
    assert len(pd.read_csv(names)) == len(Collection.open(shells_folder))
    assert "forametric[train]" in done.stderr


@pytest.mark.slow
def test_an_installation_without_extras_names_shells(model_folder, shells_folder, tmp_path):
    """The package alone, in an environment of its own: PyTorch is not there at all."""
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "bare"], check=True)
    python = tmp_path / "bare" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    installed = subprocess.run(
        [python, "-m", "pip", "install", "-q", root], capture_output=True, text=True
    )
    if "No matching distribution" in installed.stderr:
        pytest.skip("no package index can be reached from here")
    assert installed.returncode == 0, installed.stderr
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    verbs = (
        ("identify", model_folder, shells_folder, "-o", tmp_path / "names.csv"),
        ("map", model_folder, shells_folder, "-o", tmp_path / "map.html"),
    )
    for verb in verbs:
        command = [python, "-m", "forametric", *map(str, verb)]
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, env=environment
        )
        assert done.returncode == 0, (verb, done.stderr)
    heavy = [python, "-c", "import torch"]
    assert subprocess.run(heavy, capture_output=True, env=environment).returncode == 1
