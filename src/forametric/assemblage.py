"""Assemblages: how common each taxon is in each sample, with intervals that hold.

Plain counts of names are biased where the network confuses taxa or meets unknown ones, and say
nothing of how far they may be off. Here the taxon of every specimen and the shares of the sample
are drawn together (Gibbs sampling): the shares are those of this sample, not of the training set
(the prior-shift correction of Saerens, Latinne & Decaestecker 2002 in Bayesian form), and the
intervals carry both the doubt about names and the chance of drawing so few specimens.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import gammaln

from forametric import __version__
from forametric.calibration import Calibration
from forametric.collection import Collection
from forametric.embedder import Embedder
from forametric.errors import InputError
from forametric.files import atomic_folder, refuse_existing, write_json
from forametric.identify import embed_readable, name_vectors
from forametric.strangers import Strangers, normal, usual

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DRAWS, BURN_IN = 500, 100
# By how much the log-odds of a taxon, and of unknown, may be off for a whole sample (standard
# deviations), and for how many rounds one such error is supposed: set on species of pollen grains
# held out of training specimens.
OFF, OFF_UNKNOWN, ROUNDS = 0.5, 0.2, 10
PANELS = 12  # taxa in the figure at most
UNKNOWN = "unknown"
NOT_COUNTED = ("none", "duplicate")  # what experts leave out: no shell, or one already counted
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Shares:
    """The estimated composition of one sample.

    Attributes
    ----------
    share, low, high : ndarray of float64, shape (taxa + 1,)
        Shares of all specimens and their 95 % interval; last the unknown.
    """

    share: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True)
class Assemblage:
    """Counts and shares of taxa in samples.

    Attributes
    ----------
    shares : DataFrame
        sample, taxon (last `unknown`), `count` (accepted names; for `unknown` all that have no
        species), `plain` (that count's share of the specimens), `share`, `low`, `high`.
    samples : DataFrame
        sample, specimens, accepted, richness (taxa counted), rarefied (richness expected among as
        many as the sample with the fewest accepted has), and `diversity` of the known taxa's
        shares.
    skipped : DataFrame
        The images that could not be read.
    sampleless : int
        Specimens left out because their sample is not known.
    """

    shares: pd.DataFrame
    samples: pd.DataFrame
    skipped: pd.DataFrame
    sampleless: int

    def wide(self, column: str) -> pd.DataFrame:
        """One row a sample, one column a taxon."""
        table = self.shares.pivot(index="sample", columns="taxon", values=column)
        taxa = self.shares["taxon"].drop_duplicates()
        return table.loc[self.samples["sample"], taxa].rename_axis(columns=None).reset_index()

    def fractions(self) -> pd.DataFrame:
        """The shares of known taxa among the known, one row a sample; each row sums to 1."""
        table = self.wide("share").set_index("sample").drop(columns=UNKNOWN)
        return table.div(table.sum(axis=1), axis=0).round(5).reset_index()

    def tables(self) -> dict[str, pd.DataFrame]:
        """What is written, by name: shares, counts, fractions, samples."""
        return {
            "shares": self.shares,
            "counts": self.wide("count"),
            "fractions": self.fractions(),
            "samples": self.samples,
        }


def estimate_shares(
    probabilities: npt.NDArray[np.float32],
    novelty: npt.NDArray[np.float32],
    taxa: Sequence[str],
    calibration: Calibration,
    *,
    decided: npt.NDArray[np.int64] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Shares:
    """Estimate one sample's composition from its specimens' probabilities and novelty.

    Each round draws a taxon (or unknown) for each specimen, from its probability times how much
    commoner the taxon is here than it was when the probabilities were calibrated, and from its
    novelty; then new shares from the counts drawn (Dirichlet, with 1/√taxa specimens for each taxon
    beforehand), and how strange the unknown are. Few validation specimens leave the probabilities
    themselves in doubt, and a large sample does not average that out: for the interval the rounds
    are done again with an error of each taxon's log-odds supposed, another every ten rounds. It is
    that of Jeffreys for a binomial share, over the counts drawn.

    Parameters
    ----------
    probabilities : ndarray of float32, shape (n, taxa)
        Calibrated; `Embedder.predict_proba`.
    novelty : ndarray of float32, shape (n,)
        `Gallery.novelty`.
    decided : ndarray of int64, shape (n,), optional
        What an expert says each specimen is: the number of its taxon, of taxa for unknown, −1
        where none has. There is no doubt about those.
    """
    count, width = probabilities.shape
    if decided is None:
        decided = np.full(count, -1)
    rng = np.random.default_rng(seed)
    least = min(calibration.prior.values())  # a taxon added later was not there to be counted
    prior = np.array([calibration.prior.get(t, least) for t in taxa])
    # Stranger than any learnt taxon would be without its references is as strange as can be.
    novelty = np.minimum(novelty, np.float32(max(calibration.novelty_if_new)))
    known = probabilities / prior * usual(novelty, calibration)[:, None]
    strangers = Strangers.expected(calibration)
    off = np.array([OFF] * width + [OFF_UNKNOWN])
    best = _counts_drawn(known, novelty, decided, strangers, 0 * off, draws, rng)
    drawn_counts = _counts_drawn(known, novelty, decided, strangers, off, draws, rng)
    possible = rng.beta(drawn_counts + 0.5, count - drawn_counts + 0.5)
    low, high = np.quantile(possible, [0.025, 0.975], axis=0)
    # A taxon that may well be absent has no lower bound, one that may be all no upper one.
    low[(drawn_counts == 0).mean(0) > 0.025] = 0
    high[(drawn_counts == count).mean(0) > 0.025] = 1
    return Shares(best.mean(0) / count, low, high)


def _counts_drawn(
    known: Floats,
    novelty: npt.NDArray[np.float32],
    decided: npt.NDArray[np.int64],
    strangers: Strangers,
    off: Floats,
    draws: int,
    rng: np.random.Generator,
) -> Floats:
    """How many specimens of each taxon, and last of unknown, in each round: (draws, taxa + 1).

    `known` is the likelihood of each known taxon, shape (n, taxa); `off` the standard deviation of
    the error supposed of each taxon's log-odds.
    """
    width = known.shape[1]
    likelihood = np.column_stack([known, np.zeros(len(known))])
    middle, shares, supposed = strangers.middle, np.full(width + 1, 1 / (width + 1)), off
    drawn_counts = np.empty((draws, width + 1))
    for step in range(BURN_IN + draws):
        if step % ROUNDS == 0:
            supposed = np.exp(rng.normal(0, off))
        likelihood[:, -1] = normal(novelty, middle, strangers.spread)
        weights = np.cumsum((likelihood + 1e-9) * (shares * supposed), axis=1)
        names = (weights < rng.random((len(known), 1)) * weights[:, -1:]).sum(1)
        names = np.where(decided >= 0, decided, names)
        counts = np.bincount(names, minlength=width + 1)
        shares = rng.dirichlet(counts + 1 / np.sqrt(width + 1))
        middle = strangers.drawn(novelty[names == width], rng)
        if step >= BURN_IN:
            drawn_counts[step - BURN_IN] = counts
    return drawn_counts


def rarefied_richness(counts: npt.NDArray[np.int64], size: int) -> float:
    """Expected number of taxa among `size` specimens drawn without return (Hurlbert 1971).

    >>> round(rarefied_richness(np.array([5, 5]), 1), 6)
    1.0
    """
    counts = counts[counts > 0]
    total = counts.sum()
    if not 0 < size <= total:
        return float("nan")
    without = total - counts
    possible = without >= size
    missing = np.zeros(len(counts))
    missing[possible] = np.exp(
        _log_choose(without[possible], size) - _log_choose(np.array(total), size)
    )
    return float((1 - missing).sum())


def diversity(shares: Floats) -> dict[str, float]:
    """Shannon's H′ (natural logarithm), Simpson's 1 − D and Pielou's J of shares that sum to 1.

    >>> {k: round(v, 3) for k, v in diversity(np.array([0.5, 0.5])).items()}
    {'shannon': 0.693, 'simpson': 0.5, 'pielou': 1.0}
    """
    shares = shares[shares > 0]
    shannon = float(-(shares * np.log(shares)).sum())
    even = shannon / np.log(len(shares)) if len(shares) > 1 else float("nan")
    return {"shannon": shannon, "simpson": float(1 - (shares**2).sum()), "pielou": float(even)}


def _log_choose(n: npt.NDArray[np.int64], k: int) -> Floats:
    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))


def assemblage(
    names: pd.DataFrame,
    probabilities: npt.NDArray[np.float32],
    taxa: Sequence[str],
    calibration: Calibration,
    samples: npt.NDArray[np.object_],
    decided: npt.NDArray[np.object_] | None = None,
    estimates: dict[str, Shares] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Counts and shares of every taxon in every sample, and each sample's diversity.

    Parameters
    ----------
    names : DataFrame
        `identify.name_vectors` of the specimens: taxon, decision, novelty.
    samples : ndarray of str, shape (n,)
    decided : ndarray of str, shape (n,), optional
        What an expert says each specimen is, a taxon or `unknown`; "" where none has. It takes the
        place of the model's name, and may be a taxon that the model does not know.
    estimates : dict of str to Shares, optional
        Samples that have been estimated already, of the same taxa; the others are added to it.

    Returns
    -------
    shares, samples : DataFrame
        As in `Assemblage`.
    """
    rows, sums = [], []
    estimates = {} if estimates is None else estimates
    if decided is None:
        decided = np.full(len(names), "", dtype=object)
    new = sorted(set(decided.tolist()) - {"", UNKNOWN, *taxa})
    taxa = [*taxa, *new]
    probabilities = np.pad(probabilities, ((0, 0), (0, len(new))))
    numbers = {"": -1} | {taxon: n for n, taxon in enumerate((*taxa, UNKNOWN))}
    settled = np.array([numbers[str(name)] for name in decided], np.int64)
    called = names["taxon"].where(settled < 0, decided)
    accepted = np.where(settled < 0, names["decision"] == "accepted", settled < len(taxa))
    novelty = names["novelty"].to_numpy(dtype=np.float32)
    order = list(dict.fromkeys(samples.tolist()))
    smallest = min(int(accepted[samples == s].sum()) for s in order)
    for sample in order:
        of = samples == sample
        counted = called.where(accepted, UNKNOWN)[of].value_counts()
        if sample not in estimates:
            estimates[sample] = estimate_shares(
                probabilities[of], novelty[of], taxa, calibration, decided=settled[of]
            )
        found = estimates[sample]
        counts = np.array([int(counted.get(t, 0)) for t in (*taxa, UNKNOWN)])
        table = pd.DataFrame({"sample": sample, "taxon": [*taxa, UNKNOWN], "count": counts})
        table["plain"] = counts / of.sum()
        table["share"], table["low"], table["high"] = found.share, found.low, found.high
        rows.append(table)
        known = found.share[:-1]
        sums.append(
            {
                "sample": sample,
                "specimens": int(of.sum()),
                "accepted": int(accepted[of].sum()),
                "richness": int((counts[:-1] > 0).sum()),
                "rarefied_to": smallest,
                "rarefied": rarefied_richness(counts[:-1], smallest),
                **diversity(known / known.sum() if known.sum() else known),
            }
        )
    shares = pd.concat(rows, ignore_index=True)
    return shares.round({c: 5 for c in ("plain", "share", "low", "high")}), pd.DataFrame(sums)


def count_samples(
    specimens: pd.DataFrame,
    names: pd.DataFrame,
    probabilities: npt.NDArray[np.float32],
    taxa: Sequence[str],
    calibration: Calibration,
    decided: npt.NDArray[np.object_],
    by: str = "sample",
    depth: str = "",
    estimates: dict[str, Shares] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """As `assemblage`, the samples and their depths in columns of a table of specimens, in order.

    Raises
    ------
    InputError
        When a depth is no number.
    """
    levels = _levels(specimens, by, depth)
    place = {sample: n for n, sample in enumerate(levels)}
    order = np.argsort([place[s] for s in specimens[by].astype(str)], kind="stable")
    shares, samples = assemblage(
        names.iloc[order].reset_index(drop=True),
        probabilities[order],
        taxa,
        calibration,
        specimens[by].astype(str).to_numpy(dtype=object)[order],
        decided[order],
        estimates,
    )
    if depth:
        samples.insert(1, depth, [levels[s] for s in samples["sample"]])
    return shares, samples


def assemblage_of_collection(
    model: Embedder,
    collection: Collection,
    output: Path,
    *,
    by: str = "sample",
    depth: str = "",
    overwrite: bool = False,
) -> Assemblage:
    """Count a collection's taxa sample by sample and write the tables and the down-core figure.

    `shares.csv` (long: sample, taxon, count, plain, share, low, high), `counts.csv` and
    `fractions.csv` (wide: one row a sample, one column a taxon; the fractions are those of known
    taxa and sum to 1, as transfer functions take them), `samples.csv` (specimens, diversity),
    `assemblage.xlsx` (all of these), `downcore.png`.

    Parameters
    ----------
    collection : Collection
        What experts have decided on (`forametric label`) is counted as they say, without doubt;
        what they call no shell, or a duplicate, is left out.
    by : str
        The column that says which sample a specimen is of.
    depth : str
        A column with each sample's depth or age, by which samples are ordered and drawn.

    Raises
    ------
    InputError
        When a column is missing, empty or no number, or no image can be read.
    ModelError
        For a model without calibration.
    """
    refuse_existing(output, overwrite)
    calibration = model.calibrated
    table = collection.specimens
    for column in filter(None, (by, depth)):
        if column not in table or not table[column].notna().any():
            raise InputError(f"the collection has nothing in the column {column!r}.")
    named_sample = table[by].notna().to_numpy()
    chosen = collection.select(named_sample & ~_verdicts(table).isin(NOT_COUNTED).to_numpy())
    got, skipped = embed_readable(model, chosen.specimens["image"], chosen.paths())
    read = chosen.specimens.iloc[got.rows].reset_index(drop=True)
    probabilities = model.predict_proba(got)
    names = name_vectors(model, got, probabilities)
    verdict = _verdicts(read)
    decided = read["taxon"].where(verdict == "taxon", verdict).to_numpy(dtype=object)
    shares, samples = count_samples(
        read, names, probabilities, model.gallery.classes_, calibration, decided, by, depth
    )
    result = Assemblage(shares, samples, skipped, int((~named_sample).sum()))
    with atomic_folder(output, overwrite) as temporary:
        for name, part in result.tables().items():
            part.to_csv(temporary / f"{name}.csv", index=False)
        write_book(result, temporary / "assemblage.xlsx")
        if len(skipped):
            skipped.to_csv(temporary / "skipped.csv", index=False)
        downcore_figure(result, depth).savefig(temporary / "downcore.png", dpi=200)
        made_by = {"made_by": f"forametric {__version__}", "model": model.card.title}
        write_json(temporary / "assemblage.json", {**made_by, "by": by, "depth": depth})
    return result


def write_book(result: Assemblage, path: Path) -> None:
    """All tables as sheets of an Excel file."""
    with pd.ExcelWriter(path, engine="openpyxl") as book:
        for name, part in result.tables().items():
            part.to_excel(book, sheet_name=name, index=False)


def _verdicts(specimens: pd.DataFrame) -> pd.Series:
    """What experts have decided on each specimen, "" where nothing: see `forametric label`."""
    return specimens.get("decided", pd.Series("", specimens.index)).fillna("")


def _levels(read: pd.DataFrame, by: str, depth: str) -> dict[str, float]:
    """The samples in the order in which to show them, each with its depth (else its place)."""
    names = read[by].astype(str)
    if not depth:
        return {s: float(n) for n, s in enumerate(sorted(names.unique(), key=_natural))}
    values = pd.to_numeric(read[depth], errors="coerce")
    if values.isna().any():
        bad = read[depth][values.isna()].iloc[0]
        raise InputError(f"the column {depth!r} should hold numbers; {bad!r} is none.")
    means = values.groupby(names).mean().sort_values(kind="stable")
    return {str(s): float(v) for s, v in means.items()}


def _natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts sample 2 before sample 10."""
    return [(int(p), "") if p.isdigit() else (-1, p) for p in re.split(r"(\d+)", name) if p]


def downcore_figure(result: Assemblage, depth: str = "") -> Figure:
    """The commonest taxa down the samples, each in a panel of its own with its interval."""
    from matplotlib.figure import Figure

    means = result.shares.groupby("taxon", sort=False)["share"].max()
    known = means.drop(UNKNOWN).sort_values(ascending=False)
    taxa = [*known.index[known >= 0.02][:PANELS], UNKNOWN]
    levels = result.samples[depth] if depth else pd.Series(range(len(result.samples)))
    figure = Figure(
        figsize=(1.6 + 1.25 * len(taxa), max(3.2, 0.28 * len(levels) + 1.9)), layout="constrained"
    )
    for axes, taxon in zip(figure.subplots(1, len(taxa), sharey=True, squeeze=False)[0], taxa,
                           strict=True):  # fmt: skip
        part = result.shares[result.shares["taxon"] == taxon]
        colour = "#8a919e" if taxon == UNKNOWN else "#2f6f9f"
        axes.fill_betweenx(levels, part["low"] * 100, part["high"] * 100, color=colour, alpha=0.25)
        axes.plot(part["share"] * 100, levels, "-o", color=colour, ms=3, lw=1.2)
        axes.plot(part["plain"] * 100, levels, "x", color="#1d2430", ms=4, mew=0.8)
        words = taxon if taxon == UNKNOWN else taxon.replace(" ", "\n", 1)
        axes.set_title(words, fontsize=8, rotation=45, ha="left", va="bottom",
                       style="normal" if taxon == UNKNOWN else "italic")  # fmt: skip
        axes.set_xlim(0, None)
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    first = figure.axes[0]
    first.invert_yaxis()
    if depth:
        first.set_ylabel(depth)
    else:
        first.set_yticks(list(levels), result.samples["sample"].tolist())
    figure.supxlabel("% of specimens: estimate with 95 % interval; × plain count", fontsize=8)
    return figure
