"""How many shells of a slide are found, and how many found are shells, on slides of known truth.

python experiments/slides.py 40              # 20 bright on dark, 20 dark on light, 50 to 300 shells
python experiments/slides.py --side 10000 --write slide.png   # a large one, to measure memory with:
/usr/bin/time -v forametric segment slide.png -o slide
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.support.measure import measure_slides, slide_of

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("count", type=int, nargs="?", default=40)
    parser.add_argument("--side", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--write", type=Path, help="Write the first slide there, measure nothing.")
    asked = parser.parse_args()
    if asked.write:
        Image.fromarray(slide_of(asked.first, asked.side).picture).save(asked.write)
        raise SystemExit
    for light, found in measure_slides(asked.count, asked.side, asked.first).items():
        figures = ", ".join(f"{name} {value:.4g}" for name, value in found.items())
        print(f"{light:15} {figures}")
