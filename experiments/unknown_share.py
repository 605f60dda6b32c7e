"""Whether the interval of the unknown's share holds, on samples of known composition.

python experiments/unknown_share.py MODEL COLLECTION --split SPLIT [--none SPLIT2] -o FILE.json

Samples of 50 to 400 held-out specimens are drawn: known taxa in uneven proportions, and a share of
unknown specimens (0, 0.1, 0.3 or 0.8) of one to six unseen taxa, or of images of no taxon (the
`distractor` specimens of SPLIT2). Specimens are drawn without return within a sample. Reported are
the coverage of the share that a sample has, its estimate, and the coverage of its common taxa.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from forametric._typing import FloatArray, IntArray, NameArray
from forametric.analysis.abundance import estimate_composition
from forametric.data.collection import Collection
from forametric.data.splits import Split
from forametric.model.model import Model
from forametric.utils.files import write_json

SHARES, COMMON = (0.0, 0.1, 0.3, 0.8), 0.05


def drawn_sample(
    rng: np.random.Generator, subsets: NameArray, taxa: NameArray, share: float, kind: str
) -> IntArray:
    """Positions of a sample's specimens; the known are as many as the shares allow."""
    known, unknown = subsets == "test", subsets == kind
    names = np.unique(taxa[unknown])
    chosen = rng.choice(names, int(rng.integers(1, min(6, len(names)) + 1)), replace=False)
    pool = np.flatnonzero(unknown & np.isin(taxa, chosen))
    count = min(int(rng.integers(50, 401)), int(len(pool) / share) if share else 400)
    n_unknown = min(round(count * share), len(pool))
    of_taxon = rng.dirichlet(np.full(len(np.unique(taxa[known])), 0.5))
    weights = of_taxon[np.unique(taxa[known], return_inverse=True)[1]]
    keys = rng.random(int(known.sum())) ** (1 / np.maximum(weights, 1e-9))
    order = np.flatnonzero(known)[np.argsort(-keys)]
    return np.concatenate(
        [order[: count - n_unknown], rng.choice(pool, n_unknown, replace=False)]
    ).astype(np.int64)


def coverage(
    model: Model,
    probabilities: FloatArray,
    novelty: FloatArray,
    subsets: NameArray,
    taxa: NameArray,
    samples: int,
) -> pd.DataFrame:
    """One row for each kind and share of unknown specimens."""
    names, rows = model.taxa, []
    number = {name: n for n, name in enumerate(names)}
    for kind in [k for k in ("unseen", "distractor") if (subsets == k).any()]:
        for share in SHARES:
            found = []
            for seed in range(samples):
                rng = np.random.default_rng([seed, int(share * 10)])
                of = drawn_sample(rng, subsets, taxa, share, kind)
                estimate = estimate_composition(
                    probabilities[of], novelty[of], names, model.calibrated, seed=seed
                )
                labels = [
                    number[t] if s == "test" else len(names)
                    for s, t in zip(subsets[of], taxa[of], strict=True)
                ]
                real = np.bincount(labels, minlength=len(names) + 1) / len(of)
                within = (estimate.low <= real) & (real <= estimate.high)
                common = np.flatnonzero(real[:-1] >= COMMON)
                found.append(
                    {
                        "covered": within[-1],
                        "unknown": estimate.abundance[-1],
                        "low": estimate.low[-1],
                        "high": estimate.high[-1],
                        "common_covered": within[:-1][common].mean() if len(common) else np.nan,
                        "error": np.abs(estimate.abundance - real).mean(),
                        "effective_draws": estimate.effective_draws,
                    }
                )
            means = pd.DataFrame(found).astype(float).mean()
            rows.append({"kind": kind, "share": share, "samples": samples, **means.to_dict()})
            print(pd.DataFrame(rows[-1:]).round(3).to_string(index=False), flush=True)
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("collection", type=Path)
    parser.add_argument("--split", required=True)
    parser.add_argument("--none", help="a split whose distractor specimens are of no taxon")
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    collection, model = Collection.open(arguments.collection), Model.load(arguments.model)
    subsets = Split.load(collection, arguments.split).subsets.to_numpy(dtype=object, copy=True)
    if arguments.none:
        subsets[Split.load(collection, arguments.none).of("distractor")] = "distractor"
    rows = np.flatnonzero(np.isin(subsets, ["test", "unseen", "distractor"]))
    rng = np.random.default_rng(0)
    rows = np.sort(rng.permutation(rows)[: min(len(rows), 3000)])
    embeddings = model.embed(collection.select(rows))
    kept = rows[embeddings.rows]
    table = coverage(
        model,
        model.predict_proba(embeddings),
        model.novelty(embeddings),
        subsets[kept],
        collection.taxa()[kept].astype(str),
        arguments.samples,
    )
    write_json(arguments.output, table.round(4).to_dict("records"))


if __name__ == "__main__":
    main()
