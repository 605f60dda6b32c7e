"""Commands to try things out on simulated shells."""

import os

import pandas as pd
import pytest

import forametric as fm
from forametric.cli import demo
from forametric.errors import InputError
from tests.support.cli import forametric


def test_simulate_writes_shells_and_their_truth(tmp_path, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 1)  # one process starts at once
    asked = ["simulate", "--total", 35, "--size", 16, "-o", tmp_path / "s"]
    done = forametric(*asked)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "s" / "specimens.csv")
    assert (len(table), table["label"].nunique()) == (35, 35)
    assert forametric(*asked).returncode == 2
    few = forametric("simulate", "--total", 0, "-o", tmp_path / "t")
    assert few.returncode == 2
    assert "between 1 and" in few.stderr


@pytest.mark.slow
def test_a_stopped_demo_resumes_and_a_finished_one_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "PER_FORM", 6)
    monkeypatch.setattr(demo, "SIZE", 48)
    monkeypatch.setattr(demo, "SETTINGS", ("epochs=1", "network.image_size=32", "tta_views=1"))

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(fm, "train", stop)
        with pytest.raises(KeyboardInterrupt):
            demo.run_demo(tmp_path / "demo")
    drawn = (tmp_path / "demo.unfinished" / "shells" / "specimens.csv").stat().st_mtime_ns
    done = forametric("demo", "-o", tmp_path / "demo")
    assert done.returncode == 0, done.stderr
    assert "6/6" in done.stderr
    assert (tmp_path / "demo" / "shells" / "specimens.csv").stat().st_mtime_ns == drawn
    for name in ("results/report.html", "morphospace.png", "morphospace.html", "names.csv",
                 "morphotypes/discover.html", "model"):  # fmt: skip
        assert os.path.exists(tmp_path / "demo" / name)
    with pytest.raises(InputError, match="exists already"):
        demo.run_demo(tmp_path / "demo")
