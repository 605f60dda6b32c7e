"""Assemblages: how common each taxon is in each sample, with intervals, raw counts and diversity.

Raw counts of names are biased where the model confuses taxa or meets unknown ones, and do not tell
how far they may be off. Here the taxon of every specimen and the abundances of the sample are
drawn together (Gibbs sampling). The abundances are those of this sample, not of the training set
(the prior-shift correction of Saerens, Latinne & Decaestecker 2002 in Bayesian form). The intervals
cover both the uncertainty of names and the sampling error of a finite count.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from forametric._typing import FloatArray, NameArray, PathLike
from forametric._version import __version__
from forametric.analysis.abundance import (
    EFFECTIVE_DRAWS,
    R_HAT,
    Composition,
    estimate_composition,
)
from forametric.analysis.plots.downcore import downcore_figure
from forametric.data.collection import Collection
from forametric.data.embeddings import skipped_table
from forametric.data.sources import open_collection
from forametric.data.verdicts import NOT_COUNTED, Verdict, name_no_specimens, verdicts_in
from forametric.errors import InputError
from forametric.identification.calibration import Calibration
from forametric.identification.drift import described
from forametric.identification.identifier import ACCEPTED, NOT_A_SPECIMEN, UNKNOWN
from forametric.model.identify import Identifications
from forametric.model.model import Model
from forametric.utils.excel import write_sheets
from forametric.utils.files import atomic_path, write_json
from forametric.utils.outputs import atomic_folder
from forametric.utils.results import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMED = 5  # samples that a warning lists
Z = 1.959964  # the normal quantile of a 95 % interval
UNLISTED_AS_UNKNOWN = {str(Verdict.UNLISTED): UNKNOWN}
COILING_SPELLINGS = dict.fromkeys(("sinistral", "sin", "s", "left", "l"), "sinistral") | (
    dict.fromkeys(("dextral", "dex", "d", "right", "r"), "dextral")
)
logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False, repr=False)
class Assemblages(Result):
    """Counts and relative abundances of taxa in samples.

    Attributes
    ----------
    table : DataFrame
        sample, taxon (the last is `unknown`), `count` (accepted names; for `unknown` the specimens
        with this decision), `raw` (that count's proportion of the specimens), `abundance`, `low`,
        `high`.
    samples : DataFrame
        sample, specimens; accepted, indeterminate (only a genus, or ambiguous) and unknown, which
        add up to them; not_specimens (images of debris and the like, which are not counted);
        `Composition.indices` of the known taxa (rarefied_to: as many specimens as the sample with
        the fewest accepted has); effective_draws and r_hat of the sampler; and, where the model can
        tell, unlike (what is different about its images; "" for most samples).
    skipped : DataFrame
        The images that could not be read: image, reason.
    n_unassigned : int
        Specimens that were left out because their sample is not known.
    by, depth : str
        The columns that name the sample and its depth; "" for no depth.
    model : str
        The title of the model that named the specimens.
    coiling : DataFrame
        `coiling_ratios`; empty for a collection without coiling directions.
    draws : DataFrame
        `draws_table`, if asked for.
    """

    table: pd.DataFrame
    samples: pd.DataFrame
    skipped: pd.DataFrame = field(default_factory=skipped_table)
    n_unassigned: int = 0
    by: str = "sample"
    depth: str = ""
    model: str = ""
    coiling: pd.DataFrame = field(default_factory=pd.DataFrame)
    draws: pd.DataFrame = field(default_factory=pd.DataFrame)

    def __len__(self) -> int:
        return len(self.samples)

    def __str__(self) -> str:
        left_out = f", {self.n_unassigned} without {self.by} left out" if self.n_unassigned else ""
        return f"{self.samples['specimens'].sum()} specimens in {len(self)} samples{left_out}"

    @property
    def summary(self) -> dict[str, Any]:
        """samples, n_unassigned."""
        return {"samples": self.samples.to_dict("records"), "n_unassigned": self.n_unassigned}

    @property
    def preview(self) -> pd.DataFrame:
        """Each sample with its most abundant taxon and that taxon's interval."""
        top = self.table.loc[self.table.groupby("sample")["abundance"].idxmax()]
        top = top[["sample", "taxon", "abundance", "low", "high"]]
        columns = ["sample", "specimens", "accepted", "richness", "shannon"]
        return self.samples[columns].merge(top, on="sample")

    def wide(self, column: str) -> pd.DataFrame:
        """One row for each sample, one column for each taxon."""
        table = self.table.pivot(index="sample", columns="taxon", values=column)
        taxa = self.table["taxon"].drop_duplicates()
        return table.loc[self.samples["sample"], taxa].rename_axis(columns=None).reset_index()

    @property
    def counts(self) -> pd.DataFrame:
        """The accepted names of each taxon: one row for each sample, one column for each taxon."""
        return self.wide("count")

    @property
    def fractions(self) -> pd.DataFrame:
        """Known taxa's abundances among the known: one row for each sample, which sums to 1."""
        table = self.wide("abundance").set_index("sample").drop(columns=UNKNOWN)
        return table.div(table.sum(axis=1), axis=0).round(5).reset_index()

    def tables(self) -> dict[str, pd.DataFrame]:
        """What `save` writes, by name: abundances, counts, fractions, samples, any coiling."""
        tables = {
            "abundances": self.table,
            "counts": self.counts,
            "fractions": self.fractions,
            "samples": self.samples,
        }
        return tables | ({"coiling": self.coiling} if len(self.coiling) else {})

    def plot(self) -> Figure:
        """The down-core figure."""
        return downcore_figure(self.table, self.samples, self.depth)

    def to_excel(self, path: PathLike) -> None:
        """Write all tables as sheets of an Excel file; names stay text."""
        with atomic_path(Path(path)) as temporary:
            write_sheets(temporary, self.tables())

    def save(self, folder: PathLike, *, overwrite: bool = False) -> Path:
        """Write the tables (CSV and Excel) and the down-core figure; returns the folder.

        `abundances.csv` (long: sample, taxon, count, raw, abundance, low, high), `counts.csv` and
        `fractions.csv` (wide: one row for each sample, one column for each taxon; fractions are of
        known taxa and sum to 1, as transfer functions take them), `samples.csv` (specimens,
        diversity), `coiling.csv` (ratios, where the collection has a column `coiling`),
        `assemblage.xlsx` (all of these), `downcore.png`, and `draws.parquet` if asked for.
        """
        folder = Path(folder)
        with atomic_folder(folder, overwrite) as temporary:
            for name, part in self.tables().items():
                part.to_csv(temporary / f"{name}.csv", index=False)
            self.to_excel(temporary / "assemblage.xlsx")
            if len(self.draws):
                self.draws.to_parquet(temporary / "draws.parquet", index=False)
            if len(self.skipped):
                self.skipped.to_csv(temporary / "skipped.csv", index=False)
            self.plot().savefig(temporary / "downcore.png", dpi=200)
            made_by = {"made_by": f"forametric {__version__}", "model": self.model}
            columns = {"by": self.by, "depth": self.depth}
            write_json(temporary / "assemblage.json", {**made_by, **columns})
        return folder


def assemblages(
    identifications: Identifications, *, by: str = "sample", depth: str = "", draws: bool = False
) -> Assemblages:
    """Estimate the abundances of taxa in each sample of an identified collection.

    Parameters
    ----------
    identifications : Identifications
        From `Model.identify` on a collection. What experts have decided (`forametric
        apply-decisions`) is counted as certain; what they call a duplicate or not a specimen is
        left out.
    by : str
        The column of the collection that names a specimen's sample.
    depth : str
        A column with each sample's depth or age, by which samples are ordered and drawn.
    draws : bool
        Also keep single draws of each composition (`draws_table`), to carry their uncertainty into
        a transfer function.

    Raises
    ------
    InputError
        When a column is missing, empty or not numeric.
    ModelError
        For names from a model without calibration.

    Examples
    --------
    >>> counts = assemblages(model.identify("core"), depth="depth_cm")  # doctest: +SKIP
    >>> counts.save("core-counts")  # doctest: +SKIP
    """
    calibration = identifications.calibrated
    specimens = identifications.specimens
    _check_columns(specimens, by, depth)
    assigned = specimens[by].notna().to_numpy()
    verdicts = verdicts_in(specimens)
    rows = np.flatnonzero(assigned & ~np.isin(verdicts, NOT_COUNTED))
    counted = specimens.iloc[rows].reset_index(drop=True)
    verdict = pd.Series(verdicts[rows])
    labels = counted["taxon"].where(verdict == Verdict.TAXON, verdict.replace(UNLISTED_AS_UNKNOWN))
    names = identifications.table.iloc[rows].reset_index(drop=True)
    expert_labels = labels.to_numpy(dtype=object)
    compositions: dict[str, Composition] = {}
    table, samples = count_samples(
        counted,
        names,
        identifications.probabilities[rows],
        identifications.taxa,
        calibration,
        expert_labels,
        by,
        depth,
        compositions,
    )
    if by == "sample":
        add_unlike(samples, identifications.drift)
    return Assemblages(
        table,
        samples,
        identifications.skipped,
        int((~assigned).sum()),
        by,
        depth,
        identifications.model,
        coiling_ratios(counted, names, expert_labels, by, depth),
        draws_table(compositions, _all_taxa(identifications.taxa, expert_labels))
        if draws
        else pd.DataFrame(),
    )


def assemblages_of(
    model: Model,
    images: Collection | PathLike,
    *,
    by: str = "sample",
    depth: str = "",
    draws: bool = False,
) -> Assemblages:
    """Identify a collection, and estimate the abundances of taxa in each sample.

    The arguments and errors are those of `assemblages`.
    """
    collection = open_collection(images)
    model.calibrated  # noqa: B018  refuse before the long work
    _check_columns(collection.specimens, by, depth)
    return assemblages(model.identify(collection), by=by, depth=depth, draws=draws)


def _check_columns(specimens: pd.DataFrame, by: str, depth: str) -> None:
    for column in filter(None, (by, depth)):
        if column not in specimens or not specimens[column].notna().any():
            raise InputError(f"the collection has no values in the column {column!r}.")


def count_samples(
    specimens: pd.DataFrame,
    names: pd.DataFrame,
    probabilities: FloatArray,
    taxa: Sequence[str],
    calibration: Calibration,
    expert_labels: NameArray,
    by: str = "sample",
    depth: str = "",
    compositions: dict[str, Composition] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """As `abundances_of_samples`; samples and depths are columns of a table of specimens.

    Raises
    ------
    InputError
        When a depth is not a number.
    """
    levels = _levels(specimens, by, depth)
    place = {sample: n for n, sample in enumerate(levels)}
    order = np.argsort([place[s] for s in specimens[by].astype(str)], kind="stable")
    table, samples = abundances_of_samples(
        names.iloc[order].reset_index(drop=True),
        probabilities[order],
        taxa,
        calibration,
        specimens[by].astype(str).to_numpy(dtype=object)[order],
        expert_labels[order],
        compositions,
    )
    if depth:
        samples.insert(1, depth, [levels[s] for s in samples["sample"]])
    return table, samples


def abundances_of_samples(
    names: pd.DataFrame,
    probabilities: FloatArray,
    taxa: Sequence[str],
    calibration: Calibration,
    samples: NameArray,
    expert_labels: NameArray | None = None,
    compositions: dict[str, Composition] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Counts and abundances of every taxon in every sample, and each sample's diversity.

    Parameters
    ----------
    names : DataFrame
        `Identifier.identify` of the specimens: taxon, decision, novelty.
    samples : ndarray of str, shape (n,)
    expert_labels : ndarray of str, shape (n,), optional
        What an expert says each specimen is, a taxon or `unknown`; "" where none has. It replaces
        the model's name, and may be a taxon that the model does not know.
    compositions : dict of str to Composition, optional
        Samples that have been estimated already, with the same taxa; the others are added to it.

    Returns
    -------
    table, samples : DataFrame
        As in `Assemblages`.
    """
    rows, sums = [], []
    compositions = {} if compositions is None else compositions
    if expert_labels is None:
        expert_labels = np.full(len(names), "", dtype=object)
    taxa = _all_taxa(taxa, expert_labels)
    new = len(taxa) - probabilities.shape[1]
    probabilities = np.pad(probabilities, ((0, 0), (0, new)))
    numbers = {"": -1} | {taxon: n for n, taxon in enumerate((*taxa, UNKNOWN))}
    settled = np.array([numbers[str(name)] for name in expert_labels], np.int64)
    called = names["taxon"].where(settled < 0, expert_labels)
    accepted = np.where(settled < 0, names["decision"] == ACCEPTED, settled < len(taxa))
    unknown = np.where(settled < 0, names["decision"] == UNKNOWN, settled == len(taxa))
    none = np.asarray((settled < 0) & (names["decision"] == NOT_A_SPECIMEN))
    counted_as = np.where(accepted, called, np.where(unknown, UNKNOWN, ""))
    is_taxon = ~name_no_specimens([*taxa, UNKNOWN])
    novelty = names["novelty"].to_numpy(dtype=np.float32)
    order = list(dict.fromkeys(samples.tolist()))
    smallest = min(int(accepted[samples == s].sum()) for s in order)
    for sample in order:
        of = samples == sample
        counted = pd.Series(counted_as[of]).value_counts()
        if sample not in compositions:
            compositions[sample] = estimate_composition(
                probabilities[of], novelty[of], taxa, calibration, expert_labels=settled[of]
            )
        estimate = compositions[sample]
        counts = np.array([int(counted.get(t, 0)) for t in (*taxa, UNKNOWN)])
        table = pd.DataFrame({"sample": sample, "taxon": [*taxa, UNKNOWN], "count": counts})
        specimens = int((of & ~none).sum())
        table["raw"] = counts / max(specimens, 1)
        table["abundance"] = estimate.abundance
        table["low"], table["high"] = estimate.low, estimate.high
        rows.append(table[is_taxon])
        sums.append(
            {
                "sample": sample,
                "specimens": specimens,
                "accepted": int(accepted[of].sum()),
                "indeterminate": int((~accepted & ~unknown & ~none)[of].sum()),
                "unknown": int(unknown[of].sum()),
                "not_specimens": int(none[of].sum()),
                "rarefied_to": smallest,
                **estimate.indices(smallest),
                "effective_draws": round(estimate.effective_draws, 1),
                "r_hat": estimate.r_hat,
            }
        )
    table = pd.concat(rows, ignore_index=True)
    _warn_of_few_draws(pd.DataFrame(sums))
    digits = {c: 5 for c in ("raw", "abundance", "low", "high")}
    return table.round(digits), pd.DataFrame(sums).round(4)


def _all_taxa(taxa: Sequence[str], expert_labels: NameArray) -> list[str]:
    """A model's taxa, then those that only experts have named."""
    return [*taxa, *sorted(set(expert_labels.tolist()) - {"", UNKNOWN, *taxa})]


def draws_table(compositions: dict[str, Composition], taxa: Sequence[str]) -> pd.DataFrame:
    """The number of specimens of each taxon in single draws, to carry the uncertainty further.

    Returns
    -------
    DataFrame
        sample, draw, one column for each taxon, unknown: one row for each of 500 draws of each
        sample.
    """
    is_taxon = ~name_no_specimens([*taxa, UNKNOWN])
    columns = np.array([*taxa, UNKNOWN], dtype=object)[is_taxon]
    parts = []
    for sample, composition in compositions.items():
        counts = composition.draws_with_error[:, is_taxon]
        part = pd.DataFrame(counts, columns=columns)
        part.insert(0, "draw", np.arange(1, len(part) + 1))
        part.insert(0, "sample", sample)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _warn_of_few_draws(samples: pd.DataFrame) -> None:
    """Name the samples whose sampler did not converge."""
    few = (samples["effective_draws"] < EFFECTIVE_DRAWS) | (samples["r_hat"] > R_HAT)
    if few.any():
        named = ", ".join(samples["sample"][few].astype(str).head(NAMED))
        more = ", …" * (few.sum() > NAMED)
        logger.warning(
            "the intervals of %d samples (%s%s) rest on few independent draws: see the columns "
            "effective_draws and r_hat.", few.sum(), named, more,
        )  # fmt: skip


def coiling_ratios(
    specimens: pd.DataFrame,
    names: pd.DataFrame,
    expert_labels: NameArray,
    by: str = "sample",
    depth: str = "",
) -> pd.DataFrame:
    """How many specimens of each taxon coil to the left and to the right in each sample.

    Parameters
    ----------
    specimens : DataFrame
        With a column `coiling`: sinistral or dextral, also written sin, s, left or l, and dex, d,
        right or r. Specimens with another value are left out. Without the column, it is empty.
    names, expert_labels
        As in `abundances_of_samples`.
    by, depth : str
        As in `assemblages`.

    Returns
    -------
    DataFrame
        sample, taxon, sinistral, dextral, dextral_share, low, high (Wilson's 95 % interval).
    """
    if "coiling" not in specimens:
        return pd.DataFrame()
    accepted = names["taxon"].where(names["decision"] == ACCEPTED, "").to_numpy(dtype=object)
    written = specimens["coiling"].fillna("").astype(str).str.strip().str.lower().str.rstrip(".")
    order = list(_levels(specimens, by, depth))
    found = pd.DataFrame(
        {
            "sample": pd.Categorical(specimens[by].astype(str), order),
            "taxon": np.where(expert_labels == "", accepted, expert_labels),
            "coiling": written.map(COILING_SPELLINGS),
        }
    )
    found = found[found["coiling"].notna() & ~found["taxon"].isin(["", UNKNOWN])]
    is_dextral = found["coiling"] == "dextral"
    groups = is_dextral.groupby([found["sample"], found["taxon"]], observed=True)
    table = groups.agg(dextral="sum", specimens="size").reset_index().astype({"sample": str})
    number = table.pop("specimens")
    table["sinistral"] = number - table["dextral"]
    table["dextral_share"] = share = table["dextral"] / number
    half = Z * np.sqrt(share * (1 - share) / number + (Z / (2 * number)) ** 2)
    center, scale = share + Z**2 / (2 * number), 1 + Z**2 / number
    table["low"] = ((center - half) / scale).clip(lower=0) + 0.0  # not -0.0
    table["high"] = ((center + half) / scale).clip(upper=1)
    columns = ["sample", "taxon", "sinistral", "dextral", "dextral_share", "low", "high"]
    return table[columns].round(5)


def add_unlike(samples: pd.DataFrame, drift: pd.DataFrame) -> None:
    """Add to a table of samples how their images differ from those of validation, if known."""
    if len(drift):
        unlike = described(drift)
        samples["unlike"] = [unlike.get(name, "") for name in samples["sample"]]


def _levels(specimens: pd.DataFrame, by: str, depth: str) -> dict[str, float]:
    """The samples in the order in which to show them, each with its depth (else its position)."""
    names = specimens[by].astype(str)
    if not depth:
        return {s: float(n) for n, s in enumerate(sorted(names.unique(), key=_natural))}
    values = pd.to_numeric(specimens[depth], errors="coerce")
    if values.isna().any():
        bad = specimens[depth][values.isna()].iloc[0]
        raise InputError(f"the column {depth!r} must be numeric, but contains {bad!r}.")
    means = values.groupby(names).mean().sort_values(kind="stable")
    return {str(s): float(v) for s, v in means.items()}


def _natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts sample 2 before sample 10."""
    return [(int(p), "") if p.isdigit() else (-1, p) for p in re.split(r"(\d+)", name) if p]
