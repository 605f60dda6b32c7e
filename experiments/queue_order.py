"""How early a review in the order of `queue` finds the wrong identifications.

python experiments/queue_order.py MODEL COLLECTION --split SPLIT

On held-out specimens, known and unseen: the share of the wrong identifications (an unseen species
accepted, or a known one with another name or none) in the first 5, 10 and 20 %, compared with the
order by probability alone, and the number of taxa among the first 50 specimens.
"""

from __future__ import annotations

import argparse

import numpy as np

from forametric.data.collection import Collection
from forametric.data.splits import Split
from forametric.model.model import Model
from forametric.review.priority import priorities, review_order


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("collection")
    parser.add_argument("--split", required=True)
    arguments = parser.parse_args()
    model, collection = Model.load(arguments.model), Collection.open(arguments.collection)
    split = Split.load(collection, arguments.split)
    held_out = collection.select(split.of("test", "unseen", "distractor"))
    embeddings = model.embed(held_out)
    names = model.identify(embeddings).table
    taxa = embeddings.taxa()
    truth = np.where(np.isin(taxa, model.taxa), taxa, "")
    wrong = (names["taxon"].to_numpy() != truth).astype(bool)
    probability = names["best_probability"].to_numpy(np.float32)
    samples = np.full(len(names), "", dtype=object)
    orders = {
        "queue": review_order(priorities(names, samples, model.calibrated)),
        "lowest probability first": np.argsort(probability, kind="stable"),
    }
    print(f"{len(names)} specimens, {wrong.mean():.1%} with a wrong name")
    for name, order in orders.items():
        shares = [wrong[order[: int(len(order) * s)]].sum() / wrong.sum() for s in (0.05, 0.1, 0.2)]
        n_taxa = len(set(taxa[order[:50]]))
        listed = ", ".join(f"{share:.0%}" for share in shares)
        print(f"{name}: {listed} of them in the first 5, 10, 20 %; {n_taxa} taxa in the first 50")


if __name__ == "__main__":
    main()
