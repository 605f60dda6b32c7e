"""Keep dependencies from reporting usage: Forametric contacts nobody without being asked.

Nothing here happens at `import forametric`. Each function does its part when the dependency is
first needed, and leaves alone what the program that uses Forametric has imported or set before.
"""

from __future__ import annotations

import os
import sys
from typing import Any

# Read by the dependencies when they are imported: huggingface_hub, Ray, and tools in general.
SWITCHES = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "DO_NOT_TRACK": "1",
}
CONVERTER = "openvino.tools.ovc"


def switch_reports_off() -> None:
    """Set the variables that switch usage reports off, in this process and those it starts.

    A variable that is set already is kept.
    """
    for name, value in SWITCHES.items():
        os.environ.setdefault(name, value)


def import_openvino() -> Any:
    """OpenVINO without its model converter.

    Importing the converter reports to an analytics host and leaves a client number in the home
    folder. `import openvino` loads it if it can; here it cannot. What only the converter offers,
    `openvino.convert_model`, is then at `openvino.tools.ovc.convert_model` alone.

    Raises
    ------
    ModuleNotFoundError
        When OpenVINO is not installed.
    """
    if "openvino" in sys.modules:
        return sys.modules["openvino"]
    sys.modules[CONVERTER] = None  # type: ignore[assignment]  # an import of it raises ImportError
    try:
        import openvino
    finally:
        sys.modules.pop(CONVERTER, None)
    return openvino
