"""Precision and recall of the shells that are found on simulated slides.

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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=40)
    parser.add_argument("--side", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--write", type=Path, help="only write the first slide to this file")
    arguments = parser.parse_args()
    if arguments.write:
        Image.fromarray(slide_of(arguments.first, arguments.side).picture).save(arguments.write)
        raise SystemExit
    for light, scores in measure_slides(arguments.count, arguments.side, arguments.first).items():
        figures = ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
        print(f"{light:15} {figures}")
