"""Tell whether the images of a sample differ from those that a model was validated on.

An image is compared with its nearest references, so that a sample of other taxa than those of
validation does not differ for this reason alone: what counts is the difference of its image
statistics (noise, sharpness, light, …) from the mean of theirs. Validation specimens show how large
these differences are, among the specimens of a taxon and between taxa.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field
from scipy.stats import betabinom, binom, t

from forametric import metrics
from forametric._typing import AnyArray, BoolArray, Float64Array, FloatArray, NameArray
from forametric.images.statistics import STATISTICS

FALSE_ALARMS = 0.05  # share of the samples like those of validation that are called different
OUTLIERS = 0.01  # share of the validation images that are called different
MIN_VALIDATION = 20  # validation specimens for an estimate
MIN_FOR_IMAGES = 50  # validation specimens to tell single images
MIN_IMAGES = 5  # of a sample that is compared
MIN_FAMILIAR = 0.4  # share of a sample that is familiar, so that only this part is compared
EXPECTED_UNLIKE = 0.03  # share of a sample's images that may be unlike, with some margin
CHANCE = 0.001  # of a sample that has more of them by chance
MAX_SENTENCES, SAMPLES_NAMED = 3, 5
UNKNOWN_TAXA = 2  # that the unknown specimens of a sample are assumed to belong to, at most
# Smaller differences do not matter, for each of `STATISTICS` in its unit.
NEGLIGIBLE = np.array([0.1, 0.05, 0.03, 2, 0.05, 2, 1, 1, 0.01])
COLUMNS = (
    "sample", "specimens", "familiar", "statistic", "difference", "usual", "unlike", "says",
)  # fmt: skip
SAYS = {  # what a lower and a higher value mean
    "noise": ("less noisy", "noisier"),
    "detail": ("less detailed", "more detailed"),
    "sharpness": ("less sharp", "sharper"),
    "brightness": ("darker", "brighter"),
    "contrast": ("lower in contrast", "higher in contrast"),
    "background": ("on a darker background", "on a brighter background"),
    "red": ("less red", "redder"),
    "blue": ("less blue", "bluer"),
    "extent": ("smaller in the image", "larger in the image"),
}
# What another statistic says already: noise changes detail and sharpness too.
IMPLIED = {"noise": ("detail", "sharpness"), "sharpness": ("detail",)}


@dataclass(frozen=True, eq=False)
class Drift:
    """How the images of samples differ from those of validation; empty where it is not known.

    Attributes
    ----------
    table : DataFrame
        `compare_samples`.
    unlike : ndarray of str, shape (n,), or None
        `DriftReference.unlike`; None where it is not known.
    warnings : list of str
        `drift_warnings`.
    """

    table: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(COLUMNS)))
    unlike: NameArray | None = None
    warnings: list[str] = field(default_factory=list)


Numbers = Annotated[list[float], Field(min_length=len(STATISTICS), max_length=len(STATISTICS))]


class DriftReference(BaseModel):
    """How the image statistics of validation specimens differ from their nearest references'.

    Each list has a number for each of `STATISTICS`.

    Attributes
    ----------
    specimens, taxa : int
        The numbers of both.
    effective_taxa : float
        The number of taxa of equal size whose means are known as well.
    mean : list of float
        The mean difference.
    sd, taxon_sd : list of float
        The standard deviation within taxa, and between their means.
    unknown_sd, unknown_taxon_sd : list of float
        The same without the references of a specimen's own taxon, as for specimens of a new one.
    limit : float or None
        The largest difference of an image that is not unusual, in standard deviations: 1 % of the
        validation images have a larger one. None where these are fewer than 50.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    specimens: Annotated[int, Field(ge=1)]
    taxa: Annotated[int, Field(ge=2)]
    effective_taxa: Annotated[float, Field(ge=1)]
    mean: Numbers
    sd: Numbers
    taxon_sd: Numbers
    unknown_sd: Numbers
    unknown_taxon_sd: Numbers
    limit: Annotated[float, Field(gt=0)] | None

    def deviations(self, differences: FloatArray) -> Float64Array:
        """Differences from the mean over the standard deviation of one image, (n, statistics).

        0 for one that is negligible or not known.
        """
        centered = differences.astype(np.float64) - np.array(self.mean)
        sd = np.sqrt(np.array(self.sd) ** 2 + np.array(self.taxon_sd) ** 2)
        matters = np.abs(np.nan_to_num(centered)) > NEGLIGIBLE
        return np.where(matters, centered / np.maximum(sd, 1e-6), 0)

    def unlike(self, differences: FloatArray) -> NameArray:
        """What is unusual about each image, as "noisier"; "" for most, shape (n,)."""
        if self.limit is None:
            return np.full(len(differences), "", object)
        deviations = self.deviations(differences)
        most = np.abs(deviations).argmax(1)
        value = deviations[np.arange(len(most)), most]
        words = np.array([SAYS[statistic] for statistic in STATISTICS], dtype=object)
        said = words[most, (value > 0).astype(int)]
        return np.asarray(np.where(np.abs(value) > self.limit, said, ""), dtype=object)


def fit_drift(
    differences: FloatArray, unknown_differences: FloatArray, taxa: AnyArray
) -> DriftReference | None:
    """Estimate from validation specimens; None for too few, or where no statistics are known.

    Parameters
    ----------
    differences, unknown_differences : ndarray of float32, shape (n, statistics)
        Of image statistics from those of the nearest references: of all references, and without
        those of the specimen's own taxon. NaN where they are not known.
    taxa : ndarray of str, shape (n,)
    """
    if not differences.shape[1]:
        return None
    known = np.isfinite(differences).all(1) & np.isfinite(unknown_differences).all(1)
    taxa = taxa[known].astype(str)
    if len(taxa) < MIN_VALIDATION or len(np.unique(taxa)) < 2:
        return None
    sd, taxon_sd = _components(differences[known].astype(np.float64), taxa)
    unknown_sd, unknown_taxon_sd = _components(unknown_differences[known].astype(np.float64), taxa)
    counts = np.unique(taxa, return_counts=True)[1]
    reference = DriftReference(
        specimens=len(taxa),
        taxa=len(counts),
        effective_taxa=round(_effective(counts), 6),
        mean=_rounded(differences[known].mean(0, dtype=np.float64)),
        sd=_rounded(sd),
        taxon_sd=_rounded(taxon_sd),
        unknown_sd=_rounded(unknown_sd),
        unknown_taxon_sd=_rounded(unknown_taxon_sd),
        limit=None,
    )
    if len(taxa) < MIN_FOR_IMAGES:
        return reference
    largest = np.abs(reference.deviations(differences[known])).max(1)
    limit = float(np.quantile(largest, 1 - OUTLIERS, method="higher"))
    return reference.model_copy(update={"limit": round(max(limit, 1.0), 6)})


def _components(values: Float64Array, taxa: AnyArray) -> tuple[Float64Array, Float64Array]:
    """Standard deviations within taxa and between their means, by the method of moments."""
    names, of = np.unique(taxa, return_inverse=True)
    counts = np.bincount(of)
    means = np.stack([np.bincount(of, column) / counts for column in values.T], axis=1)
    within = ((values - means[of]) ** 2).sum(0) / max(len(values) - len(names), 1)
    between = np.maximum(means.var(0, ddof=1) - within * np.mean(1 / counts), 0)
    return np.sqrt(within), np.sqrt(between)


def compare_samples(
    differences: FloatArray,
    names: AnyArray,
    is_unknown: BoolArray,
    is_familiar: BoolArray,
    samples: NameArray,
    reference: DriftReference,
) -> pd.DataFrame:
    """Compare each sample with the validation specimens.

    Only the familiar specimens of a sample are compared, so that specimens of new taxa, which do
    look different, are not taken for another microscope. Where few are familiar all are compared:
    another microscope can be the reason why.

    The mean difference of a sample is compared with that of validation. Its variance has a part
    within taxa, which falls with the number of specimens, and one between taxa, which falls with
    the number of taxa; both are larger for unknown specimens, which are compared with references
    of other taxa. A sample is unlike validation where a statistic differs by more than happens in
    5 % of samples, over all statistics (Bonferroni).

    Parameters
    ----------
    differences : ndarray of float32, shape (n, statistics)
        As in `fit_drift`.
    names : ndarray of str, shape (n,)
        The most probable taxon of each specimen.
    is_unknown : ndarray of bool, shape (n,)
        Which specimens are decided to be unknown.
    is_familiar : ndarray of bool, shape (n,)
        Which specimens are no more novel than most specimens of known taxa.
    samples : ndarray of str, shape (n,)

    Returns
    -------
    DataFrame
        One row for each sample of at least 5 images and each statistic: sample, specimens (that
        were compared), familiar (whether all of these are), statistic; difference; usual (the
        largest difference that is not unusual); unlike (whether it is larger); says (what it means
        in words).
    """
    rows = np.flatnonzero(np.isfinite(differences).all(1))
    rows = rows[_compared(is_familiar[rows], samples[rows])]
    order, of = np.unique(samples[rows].astype(str), return_inverse=True)
    counts = np.bincount(of, minlength=len(order))
    values = differences[rows].astype(np.float64) - np.array(reference.mean)
    familiar = np.bincount(of, is_familiar[rows], len(order)).astype(int)
    divisor = np.maximum(counts, 1)
    sums = [np.bincount(of, column, len(order)) for column in values.T]
    means = np.stack(sums, axis=1) / divisor[:, None]
    unknown = np.bincount(of, is_unknown[rows], len(order)) / divisor
    pairs = of * (len(names) + 1) + np.unique(names[rows].astype(str), return_inverse=True)[1]
    pair, specimens = np.unique(pairs, return_counts=True)
    sum_of_powers = np.bincount(pair // (len(names) + 1), specimens.astype(float) ** 2, len(order))
    taxa = divisor**2 / np.maximum(sum_of_powers, 1)  # equally common ones that are as diverse
    usual = _usual(divisor[:, None], taxa[:, None], unknown[:, None], reference)
    chosen = np.flatnonzero(counts >= MIN_IMAGES)
    words = np.array([SAYS[statistic] for statistic in STATISTICS], dtype=object)
    higher = (means[chosen] > 0).astype(int)
    return pd.DataFrame(
        {
            "sample": np.repeat(order[chosen].astype(object), len(STATISTICS)),
            "specimens": np.repeat(counts[chosen], len(STATISTICS)),
            "familiar": np.repeat(familiar[chosen] == counts[chosen], len(STATISTICS)),
            "statistic": np.tile(np.array(STATISTICS, dtype=object), len(chosen)),
            "difference": means[chosen].ravel(),
            "usual": usual[chosen].ravel(),
            "unlike": (np.abs(means) > usual)[chosen].ravel(),
            "says": words[np.arange(len(STATISTICS)), higher].ravel(),
        },
        columns=list(COLUMNS),
    )


def _compared(is_familiar: BoolArray, samples: NameArray) -> BoolArray:
    """The familiar specimens of samples that have enough of them, all specimens of others."""
    order, of = np.unique(samples.astype(str), return_inverse=True)
    familiar = np.bincount(of, is_familiar, len(order))
    share = familiar / np.maximum(np.bincount(of, minlength=len(order)), 1)
    enough = (familiar >= MIN_IMAGES) & (share >= MIN_FAMILIAR)
    return np.asarray(is_familiar | ~enough[of])


def described(table: pd.DataFrame) -> dict[str, str]:
    """What is different about each sample that is unlike validation, as "noisier and redder"."""
    found = {}
    for sample, part in table[table["unlike"].astype(bool)].groupby("sample", sort=False):
        strength = (part["difference"].abs() / part["usual"]).sort_values(ascending=False)
        said = dict(zip(part["statistic"], part["says"], strict=True))
        implied = {other for statistic in said for other in IMPLIED.get(statistic, ())}
        ordered = part["statistic"].loc[strength.index]
        words = [said[statistic] for statistic in ordered if statistic not in implied]
        found[str(sample)] = " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
    return found


def some_unlike(
    unlike: NameArray, samples: NameArray, reference: DriftReference
) -> dict[str, tuple[int, int]]:
    """The samples of which more images are unlike validation than by chance.

    Returns
    -------
    dict of str to (int, int)
        The number of these images, and of all images of the sample.
    """
    order, of = np.unique(samples.astype(str), return_inverse=True)
    numbers = np.bincount(of, minlength=len(order))
    counts = np.bincount(of, unlike != "", len(order)).astype(int)
    beyond_limit = metrics.share_above_quantile(reference.specimens, OUTLIERS)
    by_limit = betabinom.sf(counts - 1, numbers, *beyond_limit)
    chance = np.maximum(by_limit, binom.sf(counts - 1, numbers, EXPECTED_UNLIKE))
    chosen = np.flatnonzero(chance < CHANCE)
    return {str(order[i]): (int(counts[i]), int(numbers[i])) for i in chosen}


def drift_warnings(
    table: pd.DataFrame, unlike: NameArray, samples: NameArray, reference: DriftReference
) -> list[str]:
    """Sentences on the samples whose images, or some of them, are unlike those of validation."""
    wholes, sentences = described(table), list[str]()
    familiar = table.drop_duplicates("sample").set_index("sample")["familiar"].to_dict()
    kinds = {sample: (words, familiar[sample]) for sample, words in wholes.items()}
    for words, are_familiar in dict.fromkeys(kinds.values()):
        of = [sample for sample, kind in kinds.items() if kind == (words, are_familiar)]
        either = "" if are_familiar else ", or most specimens are of taxa that it does not know"
        sentences.append(
            f"the images{_of_samples(of)} are {words} than those that the model was validated on"
            f"{either}: more of their names may be wrong than the probabilities say. Check some by "
            f"eye, and calibrate or train with images of this microscope."
        )
    for sample, (count, number) in some_unlike(unlike, samples, reference).items():
        if sample not in wholes:
            sentences.append(
                f"{count} of the {number} images{_of_samples([sample])} differ from those that the "
                f"model was validated on (column `unlike`): do they come from another microscope?"
            )
    if len(sentences) > MAX_SENTENCES:
        further = f"{len(sentences) - MAX_SENTENCES} further sentences like these are not shown."
        return [*sentences[:MAX_SENTENCES], further]
    return sentences


def _of_samples(names: list[str]) -> str:
    named = [name for name in names if name]
    if not named:
        return ""
    if len(named) == 1:
        return f" of sample {named[0]}"
    listed = ", ".join(named[:SAMPLES_NAMED]) + ", …" * (len(named) > SAMPLES_NAMED)
    return f" of {len(named)} samples ({listed})"


def _usual(
    specimens: AnyArray, taxa: AnyArray, unknown: AnyArray, reference: DriftReference
) -> Float64Array:
    """The largest difference of a sample's mean that is not unusual, for each statistic.

    The numbers of specimens and of taxa, and the share of unknown specimens, have a row for each
    sample.
    """
    within, between, unknown_within, unknown_between = (
        np.array(sds) ** 2
        for sds in (
            reference.sd, reference.taxon_sd, reference.unknown_sd, reference.unknown_taxon_sd,
        )
    )  # fmt: skip
    of_specimens = ((1 - unknown) * within + unknown * unknown_within) / specimens
    of_specimens = of_specimens + within / reference.specimens
    of_taxa = (1 - unknown) ** 2 * between / taxa + between / reference.effective_taxa
    of_taxa = of_taxa + unknown**2 * unknown_between / np.minimum(taxa, UNKNOWN_TAXA)
    # Each part was estimated from some numbers only (Satterthwaite 1946).
    variance = np.maximum(of_specimens + of_taxa, 1e-12)
    free = max(reference.specimens - reference.taxa, 1), reference.taxa - 1
    degrees = variance**2 / (of_specimens**2 / free[0] + of_taxa**2 / free[1] + 1e-24)
    quantile = t.ppf(1 - FALSE_ALARMS / (2 * len(STATISTICS)), degrees)
    return np.asarray(np.maximum(quantile * np.sqrt(variance), NEGLIGIBLE))


def _effective(counts: AnyArray) -> float:
    """The number of equal groups that are as diverse (inverse Simpson index)."""
    return float(counts.sum() ** 2 / (counts.astype(float) ** 2).sum())


def _rounded(values: Float64Array) -> Numbers:
    return [round(float(v), 6) for v in values]
