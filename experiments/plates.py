"""How much of the label goes and how much of the shell stays, on simulated plates of known truth.

python experiments/plates.py 2000
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.support.measure import measure_plates

if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    for (style, near), found in measure_plates(count).items():
        figures = ", ".join(f"{name} {value:.5g}" for name, value in found.items())
        print(f"{style:12} {'near the edge' if near else 'free':14} {figures}")
