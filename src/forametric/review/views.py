"""What is shown of specimens and morphotypes: plain records, made by the workspace."""

from __future__ import annotations

from dataclasses import dataclass, field

from forametric._typing import AnyArray
from forametric.data.verdicts import Verdict


@dataclass(frozen=True)
class Reference:
    """A reference specimen near a specimen."""

    id: str
    distance: float


@dataclass(frozen=True)
class Candidate:
    """A probable taxon of a specimen, with its nearest reference specimens."""

    taxon: str
    probability: float
    references: list[Reference]


@dataclass(frozen=True)
class QueuedSpecimen:
    """A specimen to be reviewed, with what the model suggests.

    Attributes
    ----------
    image : str
        Its path inside the collection.
    label : str
        The name as recorded; "" where there is none.
    decision : str
        The model's: accepted, genus, ambiguous or unknown.
    suggested : str
        The most probable taxon, with `probability`.
    suggests_unlisted : bool
        Whether to offer `unlisted`, a taxon without a name here, in place of `suggested`.
    suggestion_probability : float
        The probability that what is offered is right.
    error_probability : float
        The probability that the model's decision is wrong; where it is ambiguous, the suggestion.
    explanation : str
        Why the model decided so, in words.
    """

    id: str
    image: str
    label: str
    sample: str
    decision: str
    suggested: str
    probability: float
    suggests_unlisted: bool
    suggestion_probability: float
    error_probability: float
    explanation: str
    candidates: list[Candidate]


@dataclass(frozen=True)
class HistoryRow:
    """One row of the decision store."""

    number: int
    specimen: str
    verdict: str
    taxon: str
    reviewer: str
    time: str
    previous_verdict: str
    previous_taxon: str
    suggested: str
    probability: float | None
    model: str
    undoes: int | None


@dataclass(frozen=True)
class SpecimenView(QueuedSpecimen):
    """Everything known about a specimen.

    Attributes
    ----------
    taxon : str
        As settled by the reviewers, else as identified; "" where it has no name.
    state : str
        settled, conflict, or the model's decision.
    verdict : Verdict or None
        The verdict on which the reviewers agree.
    metadata : dict of str to str
        The other columns of the collection, as text.
    """

    taxon: str
    state: str
    verdict: Verdict | None
    novelty: float
    metadata: dict[str, str] = field(default_factory=dict)
    history: list[HistoryRow] = field(default_factory=list)


@dataclass(frozen=True)
class SimilarSpecimen:
    """A specimen of the collection near a given vector."""

    id: str
    taxon: str
    distance: float


@dataclass(frozen=True)
class IdentifiedImage:
    """The identification of an image that is not of the collection, and its place on the map."""

    taxon: str
    decision: str
    reason: str
    probability: float
    novelty: float
    candidates: list[Candidate]
    similar: list[SimilarSpecimen]
    x: float
    y: float


@dataclass(frozen=True)
class NearestTaxon:
    """A known taxon near a morphotype, and the id of its nearest reference specimen."""

    taxon: str
    distance: float
    reference: str


@dataclass(frozen=True)
class MorphotypeView:
    """A proposed group of specimens.

    Attributes
    ----------
    name : str
        "" while it has none.
    specimens : int
        How many there are.
    members : list of str
        Ids, the most typical first; at most `MAX_MEMBERS`.
    cohesion : float
        Mean cosine between the members and their centroid.
    probability_known : float
        Mean probability that a member is of a known taxon.
    nearest : list of NearestTaxon
        The three nearest known taxa.
    """

    number: int
    name: str
    specimens: int
    members: list[str]
    cohesion: float
    probability_known: float
    nearest: list[NearestTaxon]


@dataclass(frozen=True)
class Progress:
    """How far a review has come.

    Attributes
    ----------
    specimens, settled, conflicts : int
        All specimens; those on which the reviewers agree; those on which they differ.
    expected_accuracy : float
        The expected share of right names over all specimens.
    """

    specimens: int
    settled: int
    conflicts: int
    expected_accuracy: float


@dataclass(frozen=True, eq=False)
class MapColumn:
    """A column by which the map can be colored, one value for each specimen.

    Attributes
    ----------
    levels : list of str
        The texts that the codes stand for; empty for a column of numbers.
    values : ndarray of uint16 or float32, shape (n,)
        Codes, or numbers (NaN where there is none).
    """

    levels: list[str]
    values: AnyArray
