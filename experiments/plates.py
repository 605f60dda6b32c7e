"""How much of the label is cropped and how much of the shell is kept, on simulated plates.

python experiments/plates.py 2000
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.support.measure import measure_plates

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=2000)
    arguments = parser.parse_args()
    for (style, near), shares in measure_plates(arguments.count).items():
        figures = ", ".join(f"{name} {value:.5g}" for name, value in shares.items())
        print(f"{style:12} {'near the edge' if near else 'free':14} {figures}")
