"""Print the OpenAPI description: python -m forametric.server.openapi > web/openapi.json."""

from __future__ import annotations

import json

from forametric.server.app import make_interface


def description() -> str:
    """The OpenAPI description as JSON text."""
    return json.dumps(make_interface().openapi(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(description(), end="")
