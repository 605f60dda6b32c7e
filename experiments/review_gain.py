"""How much expert decisions improve the result, and how many keys they need.

    python experiments/review_gain.py MODEL COLLECTION --split SPLIT -o gain.csv

The simulated expert knows the truth and decides on held-out specimens, known and unseen, in the
order of the queue. After 0, 50, 100, 200 and 300 decisions: the share of all specimens with the
correct name (or correctly without one), the share that the review page expects, the mean width of
the samples' intervals, and the number of keys pressed.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from forametric.data.collection import Collection
from forametric.data.splits import Split
from forametric.data.verdicts import Verdict
from forametric.review import DecisionStore
from forametric.review.assignment import Assignment
from forametric.review.project import Project, embed_project
from forametric.review.samples import SampleCounts
from forametric.review.workspace import ReviewWorkspace, VerdictOn

LEVELS = (0, 50, 100, 200, 300)
SAMPLES = 6


def keys(truth: str, known: bool, candidates: list[str], names: list[str]) -> int:
    """The keys for a decision: one for a candidate or `unlisted`, else T, the name and Enter."""
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
    arguments = parser.parse_args()
    collection = Collection.open(arguments.collection)
    held_out = collection.select(Split.load(collection, arguments.split).of("test", "unseen"))
    truth = dict(zip(held_out.specimens["id"], held_out.taxa(), strict=True))
    of = np.random.default_rng(0).integers(0, SAMPLES, len(held_out))
    table = held_out.specimens.assign(taxon=None, label=None, sample=[f"sample {n}" for n in of])
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        core = Collection(table, held_out.images, held_out.info).save(folder / "core")
        project = Project.create(folder / "project", core, arguments.model)
        store = DecisionStore(folder / "decisions.sqlite")
        workspace = ReviewWorkspace(embed_project(project), store)
        assignment, samples = Assignment(workspace), SampleCounts(workspace)
        known = sorted(workspace.embedded.model.taxa)
        true = np.array([truth[i] if truth[i] in known else "" for i in workspace.ids], object)
        pressed = done = 0
        for level in (n for n in LEVELS if n <= len(held_out)):
            while done < level:
                specimen = assignment.next_batch("A", 1)[0]
                row = workspace.row(specimen)
                taxon = str(true[row])
                offered = [candidate.taxon for candidate in workspace.candidates(row)]
                pressed += keys(taxon, bool(taxon), offered, known)
                verdict = Verdict.TAXON if taxon else Verdict.UNLISTED
                workspace.record("A", [VerdictOn(specimen, verdict, taxon)])
                if workspace.needs_update():
                    workspace.update()
                done += 1
            abundances = samples.assemblages().table
            width = float((abundances["high"] - abundances["low"]).mean())
            rows.append(
                {
                    "decisions": level,
                    "right": round(float((workspace.taxa() == true).mean()), 4),
                    "expected_right": workspace.progress().expected_accuracy,
                    "interval_width": round(width, 4),
                    "keys": pressed,
                }
            )
    results = pd.DataFrame(rows)
    results.to_csv(arguments.output, index=False)
    print(results.to_string(index=False))


if __name__ == "__main__":
    main()
