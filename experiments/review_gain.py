"""What an expert's decisions bring, and how many keys they take.

    python experiments/review_gain.py MODEL COLLECTION --split SPLIT -o gain.csv

The expert of this measurement knows the truth: held-out specimens, known and unseen, come in the
order of the queue, and each is settled as what it is. After 0, 50, 100, 200 and 300 decisions: the
share of all specimens with the right name (or rightly called unknown), the share that the page says
is to be expected, the mean width of the intervals in the samples, and the keys pressed.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from forametric.data.collection import Collection
from forametric.data.splits import load_split
from forametric.review import Decisions
from forametric.review.project import Project, embed_project
from forametric.review.workspace import Desk, Word

LEVELS = (0, 50, 100, 200, 300)
SAMPLES = 6


def keys(truth: str, known: bool, candidates: list[str], names: list[str]) -> int:
    """How many keys settle a specimen: one for a candidate or unknown, else T, name and Enter."""
    if not known or truth in candidates:
        return 1
    for letters in range(1, len(truth)):
        if sum(name.startswith(truth[:letters]) for name in names) == 1:
            return 2 + letters
    return 2 + len(truth)


def main() -> None:
    """Measure and write CSV."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("collection", type=Path)
    parser.add_argument("--split", required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    asked = parser.parse_args()
    everything = Collection.open(asked.collection)
    subsets = load_split(everything, asked.split)
    held = everything.select(subsets.isin(("test", "unseen")).to_numpy())
    truth = dict(zip(held.specimens["id"], held.taxa(), strict=True))
    of = np.random.default_rng(0).integers(0, SAMPLES, len(held))
    table = held.specimens.assign(taxon=None, label=None, sample=[f"sample {n}" for n in of])
    rows = []
    with tempfile.TemporaryDirectory() as place:
        core = Collection(table, held.images, held.info).save(Path(place) / "core")
        project = Project.create(Path(place) / "project", core, asked.model)
        desk = Desk(embed_project(project), Decisions(Path(place) / "decisions.sqlite"))
        learnt = set(desk.prepared.model.references.classes_)
        true = np.array([truth[i] if truth[i] in learnt else "" for i in desk.ids], object)
        pressed = done = 0
        for level in LEVELS:
            while done < level:
                specimen = desk.next_for("A", 1)[0]
                taxon = str(true[desk.row_of[specimen]])
                offered = [c["taxon"] for c in desk.candidates(desk.row_of[specimen])]
                pressed += keys(taxon, bool(taxon), offered, sorted(learnt))
                word = Word(specimen, "taxon", taxon) if taxon else Word(specimen, "unknown")
                desk.decide("A", [word])
                if desk.is_stale():
                    desk.renew()
                done += 1
            shares = desk.assemblage().shares
            rows.append(
                {
                    "decisions": level,
                    "right": round(float((desk.names() == true).mean()), 4),
                    "expected_right": desk.progress()["expected_right"],
                    "interval_width": round(float((shares["high"] - shares["low"]).mean()), 4),
                    "keys": pressed,
                }
            )
    found = pd.DataFrame(rows)
    found.to_csv(asked.output, index=False)
    print(found.to_string(index=False))


if __name__ == "__main__":
    main()
