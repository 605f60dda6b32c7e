"""How frequently samples are called unlike validation: false alarms, and changes that are detected.

python experiments/drift.py MODEL COLLECTION --split open_2 -o FILE.json

Samples of 10, 30 and 100 specimens are drawn from the test specimens of a split, each of 3 to 20
taxa that are drawn too. A share of the specimens (0, 0.3 or 1) is of unseen taxa, of which 2 to 6
are drawn. They are compared as they are (false alarms), and under the corruptions of `forametric
evaluate --corruptions`, all images alike (detection); also inverted, as thumbnails, and turned
by 180° (which should not be detected). MODEL must not have learnt from either.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from forametric.data.collection import Collection
from forametric.data.embeddings import Embeddings
from forametric.data.splits import Split
from forametric.evaluation.corruptions import CORRUPTIONS
from forametric.evaluation.predictions import predict
from forametric.images import load_images
from forametric.images.statistics import image_statistics
from forametric.model.model import Model
from forametric.utils.files import write_json

SIZES, UNSEEN_SHARES, DRAWS = (10, 30, 100), (0.0, 0.3, 1.0), 200
STRENGTH = {"noise": 2, "shot noise": 500}  # else the second of three


def alarm_rates(model: Model, images: np.ndarray, subsets: np.ndarray, taxa: np.ndarray) -> dict:
    """The share of drawn samples that are called unlike, by share of unseen taxa and size."""
    vectors, classes = model.embedder.embed_inputs(images, progress="")
    embeddings = Embeddings.of_vectors(vectors, classes, image_statistics(images))
    names = model.identifier.identify(embeddings)
    differences = model.identifier.statistic_differences(embeddings)
    rng, rates = np.random.default_rng(0), {}
    for share in UNSEEN_SHARES:
        if share and not (subsets == "unseen").any():
            continue
        for size in SIZES:
            alarms = 0
            for _ in range(DRAWS):
                rows = _sample(rng, subsets, taxa, size, share)
                one = np.full(len(rows), "", object)
                drift = model.identifier.drift(differences[rows], names.iloc[rows], one)
                alarms += bool(drift.table["unlike"].any())
            rates[f"unseen {share:g}, {size} specimens"] = alarms / DRAWS
    return rates


def _sample(
    rng: np.random.Generator, subsets: np.ndarray, taxa: np.ndarray, size: int, share: float
) -> np.ndarray:
    rows = []
    for subset, count, fewest, most in (
        ("test", size - round(size * share), 3, 20),
        ("unseen", round(size * share), 2, 6),
    ):
        names = np.unique(taxa[subsets == subset])
        number = min(int(rng.integers(fewest, most + 1)), len(names))
        if not count or not number:
            continue
        of = np.isin(taxa, rng.choice(names, number, replace=False)) & (subsets == subset)
        candidates = np.flatnonzero(of)
        rows.append(rng.choice(candidates, min(count, len(candidates)), replace=False))
    return np.concatenate(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("collection", type=Path)
    parser.add_argument("--split", required=True)
    parser.add_argument("--most", type=int, default=600, help="specimens that are corrupted")
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    collection, model = Collection.open(arguments.collection), Model.load(arguments.model)
    found = predict(model, Split.load(collection, arguments.split))
    chosen = np.flatnonzero(np.isin(found.subsets, ["test", "unseen"]))
    rng = np.random.default_rng(1)
    chosen = np.sort(rng.permutation(chosen)[: arguments.most])
    paths = [collection.path(int(row)) for row in found.rows[chosen]]
    images, readable, _ = load_images(paths, model.embedder.image_size)
    subsets, taxa = found.subsets[chosen][readable], found.taxa[chosen][readable].astype(str)
    rates = {"none": alarm_rates(model, images, subsets, taxa)}
    changed = {"inverted": 255 - images, "upside down": images[:, ::-1, ::-1]}
    for corruption in CORRUPTIONS:
        value = STRENGTH.get(corruption.name, corruption.strengths[1])
        changed[f"{corruption.name} {value:g}"] = corruption(images, value)
        if corruption.name == "resolution":
            changed["thumbnails of 32 px"] = corruption(images, 32 / images.shape[1])
    for name, others in changed.items():
        rates[name] = alarm_rates(model, others, subsets, taxa)
        print(name, rates[name], flush=True)
    print(pd.DataFrame(rates).T.to_string())
    made = {"split": arguments.split, "specimens": len(images), "samples": DRAWS}
    write_json(arguments.output, {**made, "called_unlike": rates})


if __name__ == "__main__":
    main()
