"""What only a process of its own can show: start-up, exit status, imports, what is left behind."""

import json
import subprocess
import sys

import pytest
import typer

from forametric import __version__
from forametric.cli import app
from tests.support.cli import forametric_process

pytestmark = pytest.mark.process
VERBS = sorted(typer.main.get_command(app).commands)


def _python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_starts_as_a_program(verb):
    done = forametric_process(verb, "--help")
    assert done.returncode == 0, done.stderr
    assert "Example: forametric" in done.stdout


def test_python_m_forametric_works_and_says_its_version():
    done = forametric_process("--version")
    assert (done.returncode, done.stdout.strip()) == (0, f"forametric {__version__}")


def test_the_exit_status_says_how_it_ended(shells_folder, tmp_path, picture):
    """0: done. 1: done, but images were skipped. 2: nothing done; no traceback."""
    done = forametric_process("split", shells_folder, "-o", tmp_path / "s.csv", "--json")
    assert done.returncode == 0, done.stderr
    assert sum(json.loads(done.stdout)["subsets"].values()) == 48
    picture("in/1.png", 1)
    (tmp_path / "in" / "2.png").write_text("no image")
    some = forametric_process("import", tmp_path / "in", "-o", tmp_path / "c")
    assert some.returncode == 1
    assert "2.png" in some.stderr
    none = forametric_process("import", tmp_path / "nowhere", "-o", tmp_path / "d")
    assert none.returncode == 2
    assert none.stderr.startswith("error: ")
    assert "Traceback" not in none.stderr


def test_help_needs_no_heavy_imports():
    heavy = ("torch", "pandas", "matplotlib", "sklearn", "faiss", "ray")
    code = f"import sys, forametric.cli; print([m for m in {heavy} if m in sys.modules])"
    assert _python(code) == "[]"


def test_packages_without_networks_load_no_torch():
    code = (
        "import importlib, pkgutil, sys\n"
        "for name in ('images', 'data', 'identification', 'review'):\n"
        "    package = importlib.import_module(f'forametric.{name}')\n"
        "    for module in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "        importlib.import_module(module.name)\n"
        "    heavy = ('torch', 'timm', 'lightning_fabric', 'fastapi', 'ray')\n"
        "    print([name, *(module for module in heavy if module in sys.modules)])\n"
    )
    assert _python(code).splitlines() == [
        "['images']", "['data']", "['identification']", "['review']",
    ]  # fmt: skip


def test_importing_images_leaves_the_limit_of_pixels():
    """An import once took Pillow's limit away for the whole process."""
    code = (
        "import PIL.Image\n"
        "before = PIL.Image.MAX_IMAGE_PIXELS\n"
        "import forametric.images.decode, forametric.data.importers, forametric.data.sources\n"
        "print(before == PIL.Image.MAX_IMAGE_PIXELS is not None)\n"
    )
    assert _python(code) == "True"


@pytest.mark.slow
def test_importing_everything_changes_nothing_for_others():
    code = (
        "import logging, os, pkgutil, importlib, sys, warnings\n"
        "import PIL.Image\n"
        "import torch, timm, lightning_fabric, matplotlib, openvino\n"
        "import pytorch_metric_learning.losses, torch.onnx, ray.data, fastapi, uvicorn, openTSNE\n"
        "def state():\n"
        "    logs = [logging.getLogger(), logging.getLogger('forametric')]\n"
        "    return {\n"
        "        'pixels': PIL.Image.MAX_IMAGE_PIXELS,\n"
        "        'truncated': __import__('PIL.ImageFile').ImageFile.LOAD_TRUNCATED_IMAGES,\n"
        "        'logs': [(list(log.handlers), log.level, log.propagate) for log in logs],\n"
        "        'threads': torch.get_num_threads(), 'seed': torch.initial_seed(),\n"
        "        'environment': dict(os.environ), 'hook': sys.excepthook,\n"
        "        'backend': matplotlib.rcParams['backend'],\n"
        "    }\n"
        "before = state()\n"
        "import forametric\n"
        "for module in pkgutil.walk_packages(forametric.__path__, 'forametric.'):\n"
        "    if not module.name.endswith('__main__'): importlib.import_module(module.name)\n"
        "after = state()\n"
        "print([key for key in before if before[key] != after[key]])\n"
    )
    assert _python(code) == "[]"
