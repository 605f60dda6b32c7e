"""Every package within the review page is named, with its licence, in what is published."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bundled():
    spec = importlib.util.spec_from_file_location("bundled", ROOT / "web" / "bundled.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_licences_are_those_of_the_locked_packages(bundled):
    """After a change of package-lock.json: npm ci, then python web/bundled.py."""
    text = (ROOT / "web" / "public" / "licenses.md").read_text(encoding="utf-8")
    listed = re.findall(r"^## (\S+) (\S+) \((\S+)\)$", text, re.MULTILINE)
    assert listed == [package[:3] for package in bundled.bundled_packages()]
    names = {name for name, _, _ in listed}
    assert {"gl-matrix", "dom-2d-camera", "regl-line", "earcut", "kdbush", "svelte"} <= names
    for part in text.split("\n## ")[1:]:
        assert re.search(r"(?i)copyright", part), part[:40]
        assert "Permission" in part, part[:40]


def test_the_bill_of_materials_names_what_is_bundled_and_required(bundled):
    bill = bundled.bill_of_materials(ROOT, "1.2.3")
    found = {component["purl"] for component in bill["components"]}
    assert {"pkg:npm/gl-matrix@3.4.4", "pkg:npm/%40flekschas/utils@0.33.0"} <= found
    assert {"pkg:pypi/numpy", "pkg:pypi/sqlalchemy"} <= found
    assert bill["metadata"]["component"]["purl"] == "pkg:pypi/forametric@1.2.3"
    assert bill == bundled.bill_of_materials(ROOT, "1.2.3"), "the same each time"
