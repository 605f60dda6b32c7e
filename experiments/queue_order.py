"""How soon a review in the order of `queue` meets the names that are wrong.

python experiments/queue_order.py MODEL COLLECTION --split SPLIT

On held-out specimens, known and unseen: what share of the wrong names (an unseen species accepted,
or a known one called something else or unknown) stands in the first 5, 10 and 20 %, beside the
order by probability alone, and how many taxa the first 50 are of.
"""

from __future__ import annotations

import argparse

import numpy as np

from forametric.data.collection import Collection
from forametric.data.splits import load_split
from forametric.identification.identifier import identify_embeddings
from forametric.model.identify import embed_readable
from forametric.model.model import Model
from forametric.review.priority import priorities, taking_turns


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("collection")
    parser.add_argument("--split", required=True)
    asked = parser.parse_args()
    model, everything = Model.load(asked.model), Collection.open(asked.collection)
    subsets = load_split(everything, asked.split)
    shells = everything.select(subsets.isin(["test", "unseen", "distractor"]).to_numpy())
    got, _ = embed_readable(model, shells.specimens["image"], shells.paths())
    shells = shells.select(got.rows)
    names = identify_embeddings(model, got, model.predict_proba(got))
    truth = np.where(np.isin(shells.taxa(), model.references.classes_), shells.taxa(), "")
    wrong = (names["taxon"].to_numpy() != truth).astype(bool)
    best = names["best_probability"].to_numpy(np.float32)
    samples = np.full(len(shells), "", dtype=object)
    priority = priorities(names, samples, model.calibrated)["priority"].to_numpy()
    orders = {
        "queue": taking_turns(priority, got.vectors),
        "its priority, no turns": np.argsort(-priority, kind="stable"),
        "least probability first": np.argsort(best, kind="stable"),
    }
    print(f"{len(shells)} specimens, {wrong.mean():.1%} with a wrong name")
    for name, order in orders.items():
        found = [wrong[order[: int(len(order) * s)]].sum() / wrong.sum() for s in (0.05, 0.1, 0.2)]
        taxa = len(set(shells.taxa()[order[:50]]))
        shares = ", ".join(f"{share:.0%}" for share in found)
        print(f"{name}: {shares} of them in the first 5, 10, 20 %; {taxa} taxa in the first 50")


if __name__ == "__main__":
    main()
