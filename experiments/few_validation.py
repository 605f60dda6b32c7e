"""What a calibration on few validation specimens is worth, on the test specimens of a split.

python experiments/few_validation.py MODEL COLLECTION --split open_1

The model is calibrated again on 5, 10, 20, 50 and all of its validation specimens, five draws of
each number. Shown are means over the draws: weights, mean probability of the best names and their
accuracy, calibration error (and what it would be if the probabilities were perfect), log loss, and
the share of known test specimens that are called unknown.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from forametric import metrics
from forametric.data.collection import Collection
from forametric.data.splits import Split
from forametric.model.model import Model

NUMBERS, DRAWS = (5, 10, 20, 50, 0), 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("collection", type=Path)
    parser.add_argument("--split", required=True)
    arguments = parser.parse_args()
    model = Model.load(arguments.model)
    split = Split.load(Collection.open(arguments.collection), arguments.split)
    known = split.collection.select(split.of("val", "test") & (split.collection.taxa() != ""))
    embeddings = model.embed(known)
    subsets = split.subsets.reindex(embeddings.table["id"]).to_numpy(object)
    validation, test = embeddings[subsets == "val"], embeddings[subsets == "test"]
    base, truth = replace(model.identifier, calibration=None), test.taxa().astype(str)
    number_of = {taxon: column for column, taxon in enumerate(base.taxa)}
    true = np.array([number_of[taxon] for taxon in truth])
    rng, rows = np.random.default_rng(0), []
    for number in NUMBERS:
        for _ in range(DRAWS if number else 1):
            size = min(number or len(validation), len(validation))
            some = validation[np.sort(rng.choice(len(validation), size, replace=False))]
            identifier = base.calibrate(some, some.taxa())
            calibration = identifier.calibrated
            probabilities = identifier.predict_proba(test)
            best = probabilities.max(1)
            correct = probabilities.argmax(1) == true
            novel = identifier.novelty(test) > calibration.novelty_threshold
            rows.append(
                {
                    "validation": len(some),
                    "temperature": calibration.temperature,
                    "distance_weight": calibration.distance_weight,
                    "mean_probability": best.mean(),
                    "accuracy": correct.mean(),
                    "ece": metrics.calibration_error(best, correct),
                    "ece_if_perfect": metrics.calibration_error_by_chance(best),
                    "log_loss": -np.log(probabilities[np.arange(len(true)), true] + 1e-12).mean(),
                    "called_unknown": novel.mean(),
                }
            )
    print(pd.DataFrame(rows).groupby("validation").mean().round(3).to_string())


if __name__ == "__main__":
    main()
