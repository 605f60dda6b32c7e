"""The measures of a benchmark, and their summary over its runs."""

from __future__ import annotations

import os
import platform

import pandas as pd

from forametric.errors import InputError
from forametric.evaluation.statistics import mean_interval, paired_difference

# What the tables show, in this order, where there is something to show.
MEASURES = {
    "known.macro_f1": "known: macro F1",
    "known.accuracy": "known: accuracy",
    "known.top3": "known: top 3",
    "known.rare_macro_f1": "rare species: macro F1",
    "unseen.matched_accuracy": "unseen: matched accuracy",
    "unseen.matched_macro_f1": "unseen: matched macro F1",
    "unseen.ami": "unseen: AMI",
    "unseen.recall_at_1": "unseen: recall at 1",
    "unseen.estimated.ami": "unseen, number estimated: AMI",
    "unseen_without.matched_accuracy": "unseen without no. 29: matched accuracy",
    "unseen_without.matched_macro_f1": "unseen without no. 29: matched macro F1",
    "open_set.auroc": "unseen against known: AUROC",
    "open_set.distractor_auroc": "no taxon against known: AUROC",
    "open_set.unseen_decisions.accepted": "unseen: accepted under a known name",
    "open_set.accepted_at_ccr90": "the same where 90 % of the known are accepted correctly",
    "open_set.distractor_decisions.accepted": "no taxon: accepted under a known name",
    "calibration.ece": "calibration error",
    "corruptions.relative_accuracy": "corrupted images: accuracy over that of clean ones",
    "corruptions.mean_ece": "corrupted images: calibration error",
    "corruptions.mean_wrong_of_accepted": "corrupted images: wrong among accepted",
    "training_seconds": "training, s",
    "images_per_second": "training, images/s",
}


def digits_of(measure: str) -> int:
    """Decimals to show: three for figures of merit, none for seconds and rates."""
    return 3 if "." in measure else 0


def measured(table: pd.DataFrame) -> list[str]:
    """Those of `MEASURES` that at least one run has."""
    return [m for m in MEASURES if m in table and table[m].notna().any()]


def summarise(table: pd.DataFrame, against: str) -> pd.DataFrame:
    """Mean, 95 % interval and difference from one recipe of every measure, over the draws.

    Seeds are averaged within a draw; with one draw only, they take its place.

    Returns
    -------
    DataFrame
        recipe, backbone, measure, mean, half (of the interval), n, difference, p.
    """
    if against not in set(table["recipe"]):
        raise InputError(f"no runs of {against!r}; there are {', '.join(set(table['recipe']))}.")
    table = table[table["failed"] == ""]
    if against not in set(table["recipe"]):
        raise InputError(f"every run of {against} failed; compare with another, --against.")
    unit = "draw" if table["draw"].nunique() > 1 else "seed"
    backbones = table.groupby("recipe", sort=False)["backbone"].first()
    share = float(table["test_share"].mean())
    rows = []
    for measure in measured(table):
        means = table.pivot_table(measure, unit, "recipe", dropna=False)
        theirs = means[against].to_numpy(float)
        for recipe, backbone in backbones.items():
            ours = means[str(recipe)].to_numpy(float)
            mean, half = mean_interval(ours)
            gain, p = paired_difference(ours, theirs, share)
            rows.append((recipe, backbone, measure, mean, half, len(ours), gain, p))
    columns = ["recipe", "backbone", "measure", "mean", "half", "n", "difference", "p"]
    return pd.DataFrame(rows, columns=columns)


def hardware() -> str:
    """The machine in words: processors, system, and a GPU where there is one."""
    import torch

    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ", no GPU"
    return f"{os.cpu_count()} cores ({platform.machine()}, {platform.system()}){gpu}"
