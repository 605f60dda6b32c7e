"""Train again with what reviewers have decided, and compare models on what they have decided."""

from __future__ import annotations

import hashlib
import multiprocessing
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypedDict

import numpy as np
import pandas as pd

from forametric import metrics
from forametric._typing import BoolArray, PathLike
from forametric.data.collection import Collection, content_hash
from forametric.data.splits import Split, group_ids, make_split
from forametric.data.verdicts import VERDICT_COLUMN
from forametric.errors import ForametricError, InputError, MissingExtraError
from forametric.evaluation.evaluate import evaluate
from forametric.model.model import Model
from forametric.review.labels import apply_decisions
from forametric.review.project import Project
from forametric.review.store import DecisionStore
from forametric.utils.crash import report_crash
from forametric.utils.outputs import check_folder
from forametric.utils.verb import verb

MIN_TESTED = 10  # specimens by which models can be compared
NAME = "decisions"  # of the split


def training_set(
    collection: Collection,
    store: DecisionStore,
    bases: Sequence[Collection] = (),
    *,
    seed: int = 0,
) -> Split:
    """A split of a reviewed collection and further collections, to train a new model.

    It has the specimens of the reviewed collection that have a name: settled by its reviewers, or
    from before. A fifth of them is kept for testing, always the same ones (by a hash of the file or
    of the group), so that models trained one after the other can be compared. The specimens of
    `bases` are not tested on, because the older model has learnt them.

    Parameters
    ----------
    bases : sequence of Collection
        What the older model was trained on.

    Raises
    ------
    InputError
        When the decisions settle nothing, or too little is left to learn.

    Examples
    --------
    >>> split = training_set(core, store, [plates])  # doctest: +SKIP
    >>> model = train(split, "default", "model-2")  # doctest: +SKIP
    """
    named = apply_decisions(collection, store)
    together = named.select(named.taxa() != "")
    tested = _is_test_unit(together.specimens)
    # A specimen that was called unlisted, not a specimen or a duplicate does not return under the
    # name that a base gives it.
    judged = named.specimens["id"][named.specimens[VERDICT_COLUMN].notna()]
    taken = {*together.specimens["id"], *judged}
    for base in bases:
        new = (base.taxa() != "") & ~base.specimens["id"].isin(taken)
        taken |= set(base.specimens["id"])
        together = together.merge(base.select(new.to_numpy()))
    # Copies and group mates of tested specimens are not learnt either.
    keys = _group_key(together.specimens)
    held_out = keys.isin(set(keys[: len(tested)][tested])).to_numpy()
    drawn = make_split(together.select(~held_out), seed=seed).subsets.replace("test", "train")
    subsets = drawn.reindex(together.specimens["id"])
    reviewed = np.arange(len(together)) < len(tested)
    subsets[held_out] = np.where(reviewed, "test", "unused")[held_out]
    return Split(together, subsets.rename("subset"), NAME)


def _group_key(specimens: pd.DataFrame) -> pd.Series:
    """What must stay in one subset: a specimen's group, or the content of its file."""
    return specimens["group"].fillna(content_hash(specimens["id"])).astype(str)


def _is_test_unit(specimens: pd.DataFrame) -> BoolArray:
    """Whether a specimen is in the fifth of the groups that is kept for testing, shape (n,)."""
    hashes = [hashlib.sha256(key.encode()).digest()[0] for key in _group_key(specimens)]
    return np.asarray(np.array(hashes, int) % 5 == 0, bool)


@dataclass(frozen=True, eq=False)
class RetrainedModel:
    """A model trained from decisions.

    Attributes
    ----------
    folder : Path
    subsets : Series of str
        The subset of each specimen of its `training_set`, indexed by id.
    """

    folder: Path
    subsets: pd.Series


def train_from_decisions(
    project: Project, store_url: str, output: PathLike, seed: int = 0
) -> RetrainedModel:
    """Train a new model with the recipe and from the backbone of a project's current model.

    Parameters
    ----------
    store_url : str
        `DecisionStore.url`.
    output : str or path
        A new folder; an unfinished run of the same name resumes if it has the same decisions.

    Raises
    ------
    InputError
        When the decisions settle nothing, or too little is left to learn, or `output` exists.
    MissingExtraError
        Where PyTorch is not installed.
    """
    try:
        from forametric.training.train import train
    except ModuleNotFoundError:
        raise MissingExtraError("training", "train") from None
    bases = [Collection.open(base) for base in project.reference_images]
    store = DecisionStore.open(store_url)
    split = training_set(Collection.open(project.collection), store, bases, seed=seed)
    store.close()
    older = Model.load(project.model)
    output = Path(output)
    check_folder(output)
    # An unfinished run resumes; one with other decisions begins again.
    train(split, older.recipe, output, seed=seed, init_from=older, overwrite=True)
    return RetrainedModel(output, split.subsets)


class TrainingProcess:
    """`train_from_decisions` in a process of its own, which can be stopped.

    The server stays responsive, and a training run that ends badly does not end the server. The
    arguments go through a pipe, so a password in the address of the store is not on a command line.
    """

    def __init__(self, project: Project, store_url: str, output: PathLike, seed: int = 0) -> None:
        context = multiprocessing.get_context("spawn")
        self._result, sender = context.Pipe(duplex=False)
        arguments = (sender, project, store_url, Path(output), seed)
        self._process = context.Process(target=_train_and_send, args=arguments)
        self._process.start()
        sender.close()  # so that reading ends when the process does

    def result(self) -> RetrainedModel:
        """Wait for the model.

        Raises
        ------
        ForametricError
            When training failed, with the same message.
        """
        try:
            result = self._result.recv()
        except EOFError:
            self._process.join()
            raise InputError(
                f"training was interrupted (exit status {self._process.exitcode})."
            ) from None
        self._process.join()
        if isinstance(result, RetrainedModel):
            return result
        raise InputError(str(result))

    def stop(self, seconds: float = 0) -> None:
        """Ask the process to end, wait some seconds, then kill it.

        An interrupted training run resumes when it is repeated.
        """
        self._process.terminate()
        self._process.join(seconds)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _train_and_send(
    sender: Connection, project: Project, store_url: str, output: Path, seed: int
) -> None:
    """Send the trained model, or the message of the error."""
    verb.set("review")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in the terminal is for the server
    try:
        result: RetrainedModel | str = train_from_decisions(project, store_url, output, seed)
    except ForametricError as error:
        result = str(error)
    except Exception as error:
        result = f"training failed: {report_crash(error)}"
    sender.send(result)
    sender.close()


class ModelMeasures(TypedDict):
    """The measures of one model in a comparison.

    `tested` specimens; their accuracy with its 95 % interval; macro F1; the expected calibration
    error.
    """

    tested: int
    accuracy: float
    accuracy_95: list[float]
    macro_f1: float
    ece: float


def compare_models(
    models: Mapping[str, PathLike],
    collection: Collection,
    store: DecisionStore,
    subsets: pd.Series,
    output: PathLike,
) -> dict[str, ModelMeasures]:
    """Measure models on the reviewed specimens that none of them learnt, all on the same.

    A name that a model does not know is one that it gets wrong. `OUTPUT/NAME` has the report of
    each model on the taxa that it knows (`forametric.evaluation.evaluate`).

    Parameters
    ----------
    subsets : Series of str
        `RetrainedModel.subsets` of the newest model.

    Raises
    ------
    InputError
        When fewer than ten reviewed specimens were kept for testing, or a model knows none of
        their taxa.
    """
    named = apply_decisions(collection, store)
    tested = subsets.reindex(named.specimens["id"]).fillna("unused")
    loaded = {name: Model.load(folder) for name, folder in models.items()}
    learnt = {i for model in loaded.values() for i in model.references.ids}
    tested[(tested != "test") | tested.index.isin(learnt)] = "unused"
    chosen = named.select((tested == "test").to_numpy())
    if len(chosen) < MIN_TESTED:
        raise InputError(
            f"{len(chosen)} reviewed specimens are kept for testing: too few to compare models; "
            f"{MIN_TESTED} are needed."
        )
    measures: dict[str, ModelMeasures] = {}
    for name, model in loaded.items():
        report = evaluate(model, Split(named, tested, "reviewed"))
        report.save(Path(output) / name, overwrite=True)
        embeddings = model.embed(chosen, progress="comparing")
        truth = embeddings.taxa().astype(str)
        probabilities = model.identifier.probabilities_or_scores(embeddings)
        given = np.asarray(model.taxa)[probabilities.argmax(1)]
        groups = group_ids(chosen.specimens).to_numpy(dtype=str)[embeddings.rows]
        measures[name] = ModelMeasures(
            tested=len(truth),
            accuracy=metrics.accuracy(truth, given),
            accuracy_95=metrics.bootstrap(metrics.accuracy, truth, given, groups=groups),
            macro_f1=metrics.macro_f1(truth, given),
            ece=metrics.calibration_error(probabilities.max(1), truth == given),
        )
    return measures
