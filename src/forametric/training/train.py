"""Train a model, select the best epoch on validation specimens, and save it.

The same loop runs on one device, several devices or several nodes (Lightning Fabric). Every random
draw of a step depends only on (seed, step), so that an interrupted run resumes exactly. Several
processes share each batch, and the loss has the embeddings of the whole batch, so that their steps
are those of one process.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn

from forametric._typing import FloatArray, IntArray, NameArray, PathLike, Pixels
from forametric.data.embeddings import Embeddings, skipped_table
from forametric.data.inputs import check_output_folder
from forametric.data.splits import Split
from forametric.data.taxonomy import Taxonomy
from forametric.embedding.network import SpecimenNetwork, build, features_of, to_batch, whiten
from forametric.embedding.recipe import Optimiser, Recipe
from forametric.embedding.runtime import TorchRuntime
from forametric.errors import InputError
from forametric.identification.calibration import FEW_SPECIMENS
from forametric.identification.identifier import Identifier
from forametric.identification.references import ReferenceSet, subsample_per_class
from forametric.images import load_images
from forametric.images.statistics import image_statistics
from forametric.metrics import macro_f1
from forametric.model.card import ModelCard
from forametric.model.model import Model, embedder_for
from forametric.training import checkpoint
from forametric.training.augment import augment
from forametric.training.losses import BatchLoss
from forametric.training.sampling import epoch_batches
from forametric.utils.files import disk_array
from forametric.utils.malloc import tuned_malloc
from forametric.utils.outputs import remove_working_folder, resumable_folder, working_folder
from forametric.utils.progress import bar
from forametric.utils.ranges import SEED

VALIDATION_REFERENCES = 8  # references per taxon at selection; the saved model has all specimens
CHECKPOINT_SECONDS = 60
REFLECTED_VIEWS = 8  # the views that include reflections
MAX_COVARIANCE = 8192  # specimens used for whitening
DIVERGED = (
    "training has diverged; lower the rates, for instance --set optimiser.backbone_lr=1e-4, and "
    "pass --overwrite."
)
logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Data:
    """The preprocessed specimens of one subset."""

    inputs: Pixels
    taxa: NameArray
    ids: list[str]

    @cached_property
    def labels(self) -> IntArray:
        """The taxa as numbers, in alphabetical order."""
        return np.unique(self.taxa.astype(str), return_inverse=True)[1].astype(np.int64)


def train(
    split: Split,
    recipe: Recipe | str = "default",
    output: PathLike = "model",
    *,
    seed: int = 0,
    init_from: Model | None = None,
    taxonomy: Taxonomy | None = None,
    overwrite: bool = False,
) -> Model:
    """Train a model on the subset `train` of a split, select on `val`, and save it as a folder.

    While it runs, `OUTPUT.unfinished` holds its checkpoints; the same call resumes from there.
    Specimens whose image cannot be read are listed in the model's `skipped.csv` and left out.

    Parameters
    ----------
    recipe : Recipe or str
        The name of a built-in recipe, or a TOML file.
    init_from : Model, optional
        Start from this model's backbone in place of ImageNet's weights.
    taxonomy : Taxonomy, optional
        Says which taxa differ from others by the direction of coiling; their images are not
        reflected unless the recipe says so. By default the table in the package.

    Raises
    ------
    InputError
        For too few taxa or no validation specimens; when an unfinished run with other settings
        exists, or another process trains the same output; or when the model to start from has
        another backbone.

    Examples
    --------
    >>> model = train(make_split(collection), "default", "model")  # doctest: +SKIP
    """
    SEED.check(seed=seed)
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe)
    handed = _handed(split, taxonomy or Taxonomy.load(), init_from)
    if handed and recipe.augment.mirror is not True and recipe.tta_views == REFLECTED_VIEWS:
        logger.warning(
            "4 views, not 8: reflections would hide the coiling direction of %s.", ", ".join(handed)
        )
        recipe = recipe.model_copy(update={"tta_views": 4})
    output = Path(output)
    with tuned_malloc():
        fabric = _fabric()
        fabric.launch()
        older = init_from.folder if init_from else None
        check_output_folder(output, overwrite, split.collection, older)
        fabric.barrier()
        if init_from and init_from.card.backbone != recipe.network.backbone:
            raise InputError(
                f"the model to start from has the backbone {init_from.card.backbone}, the recipe "
                f"{recipe.network.backbone}; add --set "
                f"network.backbone={init_from.card.backbone}"
            )
        started = time.monotonic()
        settings = _settings(split, recipe, seed, init_from) | {"handed": handed}
        with _one_working_folder(fabric, output, settings, overwrite) as work:
            size = recipe.network.image_size
            data, validation, classes, skipped = _load(fabric, split, size, work)
            torch.manual_seed(seed)
            width = len(classes) if recipe.has_class_head else 0
            network, backbone = build(recipe.network, width, pretrained=not init_from)
            if init_from:
                network.backbone.load_state_dict(init_from.network.backbone.state_dict())
            run = TrainingRun(fabric, network, recipe, data, validation, handed, seed, work)
            if recipe.epochs:
                run.fit()
            if fabric.is_global_zero:
                if recipe.network.whitened_dim:
                    _whiten(run.network, recipe, data, len(classes), seed)
                card = _card(run, split, backbone, classes, len(skipped), init_from)
                model = replace(_finish(run.network, card, data, validation), skipped=skipped)
                seconds = run.earlier_seconds + time.monotonic() - started
                card.training["seconds"] = round(seconds, 1)
                model.save(output, overwrite=overwrite)
                remove_working_folder(output)
            fabric.barrier()
    return Model.load(output)


@contextmanager
def _one_working_folder(
    fabric: Fabric, output: Path, settings: dict[str, Any], overwrite: bool
) -> Iterator[Path]:
    """The working folder of a run, which the first of its processes keeps from other runs."""
    work = working_folder(Path(os.path.realpath(output)))
    keep = checkpoint.exists(work) and not overwrite
    with ExitStack() as stack:
        refusal = ""
        if fabric.is_global_zero:
            try:
                stack.enter_context(resumable_folder(output, settings, overwrite, keep_others=keep))
            except InputError as error:
                refusal = str(error)
        if refusal := fabric.broadcast(refusal):
            raise InputError(refusal)
        yield work


@dataclass(eq=False)
class TrainingRun:
    """The state of one training: network, optimiser, averaged weights, and how far it has come.

    Attributes
    ----------
    network : SpecimenNetwork
        After `fit` it has the best averaged weights.
    data, validation : Data
        The training specimens, and those on which the best epoch is selected.
    handed : list of str
        The taxa that differ from others by the direction of coiling.
    work : Path
        Where checkpoints are written.
    history : list of dict
        epoch, loss and val_macro_f1 of each epoch.
    earlier_seconds : float
        The time that earlier, interrupted calls took.
    """

    fabric: Fabric
    network: SpecimenNetwork
    recipe: Recipe
    data: Data
    validation: Data
    handed: list[str]
    seed: int
    work: Path
    history: list[dict[str, float]] = field(default_factory=list)
    earlier_seconds: float = 0.0

    def fit(self) -> None:
        """Run every step that is left, and load the best averaged weights."""
        self._set_up()
        self.earlier_seconds, self._saved_at = self.state.seconds, time.monotonic()
        total = self.per_epoch * self.recipe.epochs
        if self.state.step:
            logger.info("resuming %s from step %d of %d", self.work, self.state.step, total)
        with bar("training (steps)", total) as advance:
            advance(self.state.step)
            for step, rows in self._batches():
                loss, vectors = self.step(step, rows, total)
                advance(1, f"loss {loss:.2f}")
                self.state.step = step + 1
                end_of_epoch = self.state.step % self.per_epoch == 0
                if end_of_epoch:
                    self._end_epoch(self.state.step // self.per_epoch, loss, vectors)
                due = time.monotonic() - self._saved_at > CHECKPOINT_SECONDS
                if (end_of_epoch or due) and self.fabric.is_global_zero:
                    self._checkpoint()
        self.fabric.barrier()
        checkpoint.load_best(self.work, self.network)
        self.history = self.state.history

    def _set_up(self) -> None:
        recipe, fabric = self.recipe, self.fabric
        n_classes = int(self.data.labels.max()) + 1
        self.loss = BatchLoss(recipe.loss, n_classes, self.network.dimensions)
        optimiser = _optimiser(self.network, self.loss, recipe.optimiser)
        if fabric.world_size > 1 and fabric.device.type == "cuda":
            # Statistics of the whole batch, as on one device; not available for CPUs.
            self.network = nn.SyncBatchNorm.convert_sync_batchnorm(self.network)  # type: ignore[no-untyped-call]
        # The decay rises with the step; otherwise a short run would keep its initial weights.
        self.average = ModelEmaV3(self.network, decay=recipe.ema_decay, use_warmup=True)
        self.wrapped, self.optimiser = fabric.setup(self.network, optimiser)
        self.average.to(fabric.device)
        self.loss.to(fabric.device)
        # The parameters of a loss are trained together on all devices.
        has_parameters = bool(list(self.loss.parameters()))
        self.shared_loss = fabric.setup_module(self.loss) if has_parameters else self.loss
        self.per_epoch = len(self._epoch(0))
        self.modules = {"network": self.network, "average": self.average.module, "loss": self.loss}
        self.state = checkpoint.load(self.work, self.modules, self.optimiser)
        self._collapsed_epochs = 0

    def step(self, step: int, rows: IntArray, total: int) -> tuple[float, Tensor]:
        """Train on one batch; returns the loss and the batch's embeddings."""
        fabric, recipe = self.fabric, self.recipe
        self.wrapped.train()
        torch.manual_seed(derive_seed(self.seed, step, fabric.global_rank))
        generator = torch.Generator().manual_seed(derive_seed(self.seed, step, 0) + 1)
        _set_lr(self.optimiser, recipe.optimiser, step, total)
        # Each process gets an equal part: the batch is extended by its first specimens if needed.
        rows = np.resize(rows, math.ceil(len(rows) / fabric.world_size) * fabric.world_size)
        inputs = to_batch(self.data.inputs[rows], fabric.device)
        labels = torch.from_numpy(self.data.labels[rows]).to(fabric.device)
        handed = torch.tensor([taxon in self.handed for taxon in self.data.taxa[rows]])
        inputs = augment(inputs, recipe.augment, generator, handed)
        vectors, scores = self.wrapped(inputs.chunk(fabric.world_size)[fabric.global_rank])
        if fabric.world_size > 1:
            vectors = _gather(fabric, vectors)
            scores = None if scores is None else _gather(fabric, scores)
        loss = self.shared_loss(vectors, scores, labels)
        if not torch.isfinite(loss):
            raise InputError(f"the loss is {loss.item()} at step {step}: {DIVERGED}")
        self.optimiser.zero_grad()
        fabric.backward(loss)
        if recipe.optimiser.max_grad_norm:
            fabric.clip_gradients(
                self.wrapped, self.optimiser, max_norm=recipe.optimiser.max_grad_norm
            )
        self.optimiser.step()
        self.average.update(self.network, step=step + 1)
        return loss.item(), vectors.detach()

    def validate(self) -> float:
        """Macro F1 of the 5 nearest neighbors on the validation specimens, without augmentation."""
        network, data = self.average.module, self.data
        rows = subsample_per_class(data.taxa, VALIDATION_REFERENCES, self.seed)
        network.eval()
        vectors = _embed(network, data, rows)
        references = ReferenceSet([data.ids[i] for i in rows], data.taxa[rows], vectors)
        all_rows = np.arange(len(self.validation.ids))
        predicted = references.predict(_embed(network, self.validation, all_rows))
        return round(macro_f1(self.validation.taxa, predicted), 4)

    def _end_epoch(self, epoch: int, loss: float, vectors: Tensor) -> None:
        row = {"epoch": epoch, "loss": round(loss, 4)}
        # In the last third, every second epoch, including the last.
        epochs = self.recipe.epochs
        if epoch > epochs * 2 // 3 and (epochs - epoch) % 2 == 0:
            row["val_macro_f1"] = self.validate()
            if row["val_macro_f1"] >= self.state.best:
                self.state.best = row["val_macro_f1"]
                if self.fabric.is_global_zero:
                    checkpoint.save_best(self.work, self.average.module)
        self.state.history.append(row)
        self._collapsed_epochs = self._collapsed_epochs + 1 if _collapsed(vectors) else 0
        if self._collapsed_epochs == 2:
            raise InputError(
                f"after epoch {epoch} all embeddings of a batch coincide, as after the epoch "
                f"before: training has collapsed. Lower the rates "
                f"(--set optimiser.backbone_lr=…) or the weight of the metric loss "
                f"(--set loss.metric_weight=…), and pass --overwrite."
            )

    def _checkpoint(self) -> None:
        now = time.monotonic()
        self.state.seconds += now - self._saved_at
        self._saved_at = now
        checkpoint.save(self.work, self.modules, self.optimiser, self.state)

    def _epoch(self, epoch: int) -> list[IntArray]:
        return epoch_batches(self.data.labels, self.recipe.sampler, self.seed, epoch)

    def _batches(self) -> Iterator[tuple[int, IntArray]]:
        """The remaining batches, each with its step number."""
        done = self.state.step
        for epoch in range(done // self.per_epoch, self.recipe.epochs):
            for index, rows in enumerate(self._epoch(epoch)):
                if epoch * self.per_epoch + index >= done:
                    yield epoch * self.per_epoch + index, rows

    @property
    def images(self) -> int:
        """The number of augmented images in all epochs of training."""
        return self.recipe.epochs * sum(len(rows) for rows in self._epoch(0))


def _settings(split: Split, recipe: Recipe, seed: int, init_from: Model | None) -> dict[str, Any]:
    """The settings that must be equal for a run to resume an unfinished one."""
    return {
        "recipe": recipe.model_dump(mode="json"),
        "seed": seed,
        "split": split.hash,
        "specimens": split.collection.fingerprint,
        "torch": torch.__version__,
        "init_from": init_from.weights_sha256 if init_from else "",
    }


def _handed(split: Split, taxonomy: Taxonomy, init_from: Model | None) -> list[str]:
    """The taxa of the training specimens that differ from others by the direction of coiling.

    By the taxonomy, or by that of the model to start from.
    """
    taxa = split.train.taxa()
    known = set(init_from.card.training.get("handed", [])) if init_from else set()
    return sorted({*taxonomy.handed(taxa), *known.intersection(taxa)})


def _load(
    fabric: Fabric, split: Split, size: int, work: Path
) -> tuple[Data, Data, list[str], pd.DataFrame]:
    """Preprocess the images of train and val into one file on disk, so that memory stays small.

    The first process writes the file; the others read it.
    """
    collection, taxa = split.collection, split.collection.taxa()
    labelled = taxa != ""
    # Training specimens come first, so that both subsets are slices of one file on disk.
    rows = np.concatenate([np.flatnonzero(split.of(s) & labelled) for s in ("train", "val")])
    if not len(rows):
        raise InputError("the split has no labelled specimens in train or val.")
    paths, file = collection.paths(), work / "inputs.npy"
    if fabric.is_global_zero:
        out = disk_array(file, (len(rows), size, size, 3))
        inputs, readable, failures = load_images([paths[i] for i in rows], size, out=out)
    else:
        readable, failures = [], {}
    readable, failures = fabric.broadcast((readable, failures))
    if not fabric.is_global_zero:
        inputs = np.load(file, mmap_mode="r")[: len(readable)]
    kept = rows[readable]
    names, ids = taxa[kept], collection.specimens["id"].to_numpy()[kept]
    border = int(split.of("train")[kept].sum())
    classes = sorted(set(names[:border]))
    if len(classes) < 2:
        raise InputError(
            f"training needs readable images of at least two taxa in train, not only "
            f"{classes[0] if classes else 'of none'}."
        )
    if border == len(kept):
        raise InputError(
            "the split has no specimens in val, which are needed to select the best epoch."
        )

    def subset(part: slice) -> Data:
        return Data(inputs[part], names[part], ids[part].tolist())

    images = collection.specimens["image"]
    skipped = skipped_table([(str(images.iloc[rows[i]]), why) for i, why in failures.items()])
    return subset(slice(border)), subset(slice(border, None)), classes, skipped


def _whiten(network: SpecimenNetwork, recipe: Recipe, data: Data, classes: int, seed: int) -> None:
    rows = subsample_per_class(data.taxa, math.ceil(MAX_COVARIANCE / classes), seed)
    features = features_of(network, data.inputs[rows], recipe.tta_views)
    if not torch.isfinite(features).all():
        raise InputError(f"the network's features are not finite: {DIVERGED}")
    whiten(network, features, data.labels[rows], recipe.network.whitened_dim)


def _card(
    run: TrainingRun,
    split: Split,
    backbone: str,
    classes: list[str],
    skipped: int,
    init_from: Model | None,
) -> ModelCard:
    info = split.collection.info
    return ModelCard.describe(
        recipe=run.recipe,
        backbone=backbone,
        classes=classes,
        dimensions=run.network.dimensions,
        seed=run.seed,
        data={
            "collection": info.get("name", ""),
            "specimens": split.collection.fingerprint,
            "split": split.hash,
            "split_name": split.name,
            "train": len(run.data.ids),
            "val": len(run.validation.ids),
            "skipped": skipped,
            "licence": info.get("licence", "not stated"),
        },
        training={
            "epochs": run.history,
            "images": run.images,
            "parameters": sum(p.numel() for p in run.network.parameters()),
            "handed": [c for c in classes if c in run.handed],
            "init_from": init_from.title if init_from else "",
        },
    )


def _finish(network: SpecimenNetwork, card: ModelCard, data: Data, validation: Data) -> Model:
    """Embed the references, and calibrate on the validation specimens."""
    network.to("cpu")
    embedder = embedder_for(TorchRuntime(network, card.recipe.tta_views), card)
    vectors, _ = embedder.embed_inputs(data.inputs, progress="embedding references")
    references = ReferenceSet(data.ids, data.taxa, vectors, image_statistics(data.inputs))
    identifier = Identifier(references, None, card.classes)
    embeddings = Embeddings.of_vectors(
        *embedder.embed_inputs(validation.inputs), image_statistics(validation.inputs)
    )
    try:
        identifier = identifier.calibrate(embeddings, validation.taxa)
        if identifier.calibrated.specimens < FEW_SPECIMENS:
            logger.warning(
                "only %d validation specimens are of known taxa: probabilities are rough.",
                identifier.calibrated.specimens,
            )
    except InputError as error:
        logger.warning("no calibration: %s", error)
    return Model(embedder, identifier, card)


def _fabric() -> Fabric:
    """One process on the first device, or one of several that `torchrun` started."""
    world = int(os.environ.get("WORLD_SIZE", 1))
    if world == 1:
        return Fabric(accelerator="auto", devices=1, precision=_precision())
    local = int(os.environ.get("LOCAL_WORLD_SIZE", world))
    return Fabric(
        accelerator="auto",
        devices=local,
        num_nodes=world // local,
        strategy="ddp",
        precision=_precision(),
    )


def _precision() -> Any:
    return "bf16-mixed" if torch.cuda.is_available() else "32-true"


def _gather(fabric: Fabric, part: Tensor) -> Tensor:
    """The results of all processes on a batch, in its order; gradients flow back to each."""
    return torch.as_tensor(fabric.all_gather(part, sync_grads=True)).flatten(0, 1)


@torch.inference_mode()
def _embed(network: nn.Module, data: Data, rows: IntArray) -> FloatArray:
    device = next(network.parameters()).device
    parts = [
        network(to_batch(data.inputs[rows[i : i + 64]], device))[0].cpu().numpy()
        for i in range(0, len(rows), 64)
    ]
    vectors = np.concatenate(parts)
    if not np.isfinite(vectors).all():
        raise InputError(f"the network's vectors are not finite: {DIVERGED}")
    return vectors


def _optimiser(
    network: SpecimenNetwork, loss: BatchLoss, settings: Optimiser
) -> torch.optim.Optimizer:
    backbone = [p for p in network.backbone.parameters() if p.requires_grad]
    heads = [p for n, p in network.named_parameters() if not n.startswith("backbone.")]
    heads += list(loss.parameters())
    groups = [
        {"params": backbone, "peak": settings.backbone_lr},
        {"params": heads, "peak": settings.head_lr},
    ]
    if settings.kind == "adamw":
        return torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
    return torch.optim.SGD(
        groups, lr=1e-3, momentum=settings.momentum, weight_decay=settings.weight_decay
    )


def _set_lr(optimiser: Any, settings: Optimiser, step: int, total: int) -> None:
    factor = lr_factor(settings.schedule, step, total, settings.warmup)
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * factor


def lr_factor(schedule: str, step: int, total: int, warmup: float) -> float:
    """The learning rate at a step as a share of its peak.

    `constant` is always at the peak. The others rise linearly over the first share `warmup` of the
    steps, then stay (`warmup`) or fall along a cosine to zero (`onecycle`).

    >>> [round(lr_factor("onecycle", step, 100, 0.1), 2) for step in (0, 9, 10, 55, 99)]
    [0.1, 1.0, 1.0, 0.5, 0.0]
    >>> [round(lr_factor("warmup", step, 100, 0.1), 2) for step in (0, 9, 10, 99)]
    [0.1, 1.0, 1.0, 1.0]
    """
    rising = max(1, round(total * warmup))
    if schedule == "constant":
        return 1.0
    if step < rising:
        return (step + 1) / rising
    if schedule == "warmup":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, total - rising)))


def _collapsed(vectors: Tensor) -> bool:
    """Whether all embeddings of a batch are nearly equal."""
    variance = float(vectors.var(0).sum())
    size = float(vectors.pow(2).sum(1).mean())
    return variance < 1e-3 * max(size, 1e-12)


def derive_seed(seed: int, step: int, rank: int) -> int:
    """A seed for one step of one process, from the seed of the training."""
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1)[0])
