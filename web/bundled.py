#!/usr/bin/env python3
"""The JavaScript packages within the review page: their licences, and a bill of materials.

    python web/bundled.py    # after `npm ci`: writes public/licenses.md, which a test compares
                             # with package-lock.json

`hatch_build.py` writes the bill of materials (CycloneDX) into every wheel.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

WEB = Path(__file__).resolve().parent
# What the page imports. Of the first two only the runtime is bundled, which needs no others but
# those; the last is bundled with everything that it depends on.
RUNTIME = ("svelte", "openapi-fetch", "svelte/esm-env", "svelte/clsx")
WHOLE = "regl-scatterplot"
# regl-scatterplot has a copy of this file among its own.
KDBUSH = ("kdbush", "4.0.2", "ISC")
ISC = """ISC License

Copyright (c) 2018, Vladimir Agafonkin

Permission to use, copy, modify, and/or distribute this software for any purpose
with or without fee is hereby granted, provided that the above copyright notice
and this permission notice appear in all copies.

THE SOFTWARE IS PROVIDED "AS IS" AND THE AUTHOR DISCLAIMS ALL WARRANTIES WITH
REGARD TO THIS SOFTWARE INCLUDING ALL IMPLIED WARRANTIES OF MERCHANTABILITY AND
FITNESS. IN NO EVENT SHALL THE AUTHOR BE LIABLE FOR ANY SPECIAL, DIRECT,
INDIRECT, OR CONSEQUENTIAL DAMAGES OR ANY DAMAGES WHATSOEVER RESULTING FROM LOSS
OF USE, DATA OR PROFITS, WHETHER IN AN ACTION OF CONTRACT, NEGLIGENCE OR OTHER
TORTIOUS ACTION, ARISING OUT OF OR IN CONNECTION WITH THE USE OR PERFORMANCE OF
THIS SOFTWARE.
"""


class Bundled(NamedTuple):
    """A package within the page, and its folder below `web/`, "" for copied files."""

    name: str
    version: str
    license: str
    folder: str = ""


def bundled_packages(web: Path = WEB) -> list[Bundled]:
    """The packages within the page, at their locked versions, by name."""
    locked = json.loads((web / "package-lock.json").read_text("utf-8"))["packages"]
    folders = {f"node_modules/{name.split('/')[-1]}" for name in RUNTIME}
    folders |= set(_with_dependencies(f"node_modules/{WHOLE}", locked))
    found = {
        Bundled(
            folder.rsplit("node_modules/", 1)[1],
            locked[folder]["version"],
            locked[folder]["license"],
            folder,
        )
        for folder in folders
    }
    return sorted({*found, Bundled(*KDBUSH)})


def _with_dependencies(folder: str, locked: dict[str, Any]) -> Iterator[str]:
    """A package's folder, and those of everything that it depends on."""
    yield folder
    for name in locked[folder].get("dependencies", {}):
        own = f"{folder}/node_modules/{name}"
        yield from _with_dependencies(own if own in locked else f"node_modules/{name}", locked)


def licenses(web: Path = WEB) -> str:
    """The notices of all bundled packages, from `node_modules`."""
    parts = ["# Licences of the packages within the review page\n"]
    for package in bundled_packages(web):
        text = _notice(web / package.folder) if package.folder else ISC
        parts.append(f"## {package.name} {package.version} ({package.license})\n\n{text.strip()}\n")
    return "\n".join(parts)


def _notice(folder: Path) -> str:
    files = sorted(p for p in folder.iterdir() if re.match(r"(?i)licen[cs]e", p.name))
    if not files:
        raise SystemExit(f"{folder} has no licence; add its notice to {__file__}.")
    return files[0].read_text("utf-8")


def bill_of_materials(root: Path, version: str) -> dict[str, Any]:
    """A CycloneDX 1.6 bill: the bundled packages, and the Python packages that are required.

    It has no time and no random number, so that the same sources give the same wheel.
    """
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    components = [
        {
            "type": "library",
            "name": package.name,
            "version": package.version,
            "purl": f"pkg:npm/{package.name.replace('@', '%40')}@{package.version}",
            "licenses": [{"license": {"id": package.license}}],
            "properties": [{"name": "forametric:part", "value": "bundled in the review page"}],
        }
        for package in bundled_packages(root / "web")
    ]
    for requirement in project["dependencies"]:
        name = re.match(r"[\w.-]+", requirement)[0]
        components.append(
            {
                "type": "library",
                "name": name,
                "purl": f"pkg:pypi/{name.lower()}",
                "properties": [{"name": "forametric:requires", "value": requirement}],
            }
        )
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "name": project["name"],
                "version": version,
                "purl": f"pkg:pypi/{project['name']}@{version}",
                "licenses": [{"license": {"id": project["license"]}}],
            }
        },
        "components": components,
    }


if __name__ == "__main__":
    (WEB / "public" / "licenses.md").write_text(licenses(), encoding="utf-8")
