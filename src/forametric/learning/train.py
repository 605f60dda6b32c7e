"""Train a model: settings, data, network, loop, selection on validation, saved model.

One loop for one device, several, or several nodes (Lightning Fabric). Every random draw of a step
depends on (seed, step) alone, so a run that was killed continues exactly as if it had not been.
Several processes share each batch and see all of its embeddings in the loss: they take the very
steps that one process would.
"""

from __future__ import annotations

import ctypes
import math
import os
import platform
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from lightning_fabric import Fabric
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn

from forametric.collection import Collection
from forametric.embedder import Embedder, ModelCard, Vectors
from forametric.errors import InputError
from forametric.files import disk_array, read_json, refuse_existing, write_json
from forametric.gallery import Gallery, thin
from forametric.images import load_squares
from forametric.learning import checkpoint
from forametric.learning.augment import augment
from forametric.learning.losses import BatchLoss
from forametric.learning.network import SpecimenNetwork, build, features_of, to_batch, whiten
from forametric.learning.recipe import Optimiser, Recipe
from forametric.learning.sampling import epoch_batches
from forametric.metrics import macro_f1
from forametric.progress import bar, console
from forametric.runtime import TorchRuntime
from forametric.splits import split_hash

VALIDATION_GALLERY = 8  # reference specimens per taxon while training; the saved gallery has all
CHECKPOINT_SECONDS = 60
COVARIANCE = 8192  # specimens that are enough to whiten by
DIVERGED = (
    "training has diverged; lower the rates, for instance --set optimiser.backbone_rate=1e-4, and "
    "pass --overwrite."
)


@dataclass(frozen=True)
class Data:
    """The prepared specimens of one role."""

    squares: npt.NDArray[np.uint8]
    taxa: npt.NDArray[np.object_]
    ids: list[str]

    @cached_property
    def numbers(self) -> npt.NDArray[np.int64]:
        """The taxa as numbers, in alphabetical order."""
        return np.unique(self.taxa.astype(str), return_inverse=True)[1].astype(np.int64)


def train(
    collection: Collection,
    roles: pd.Series,
    recipe: Recipe,
    output: Path,
    *,
    seed: int = 0,
    overwrite: bool = False,
    split_name: str = "",
    start: Embedder | None = None,
) -> Embedder:
    """Train a model on the rows of role `train`, select on `val`, and save it as a folder.

    While it runs, `OUTPUT.unfinished` holds what is needed to go on; the same call continues from
    there. Specimens whose image cannot be read are listed in the model's `skipped` and left out.

    Parameters
    ----------
    roles : Series of str
        As `forametric.splits.load_split` gives them, in the order of the collection.
    start : Embedder, optional
        A model whose backbone to go on from, in place of ImageNet's weights.

    Raises
    ------
    InputError
        Too few taxa or no validation specimens; or an unfinished run with other settings is there.
        A model to start from that has another backbone.
    """
    keep_memory()
    fabric = _fabric()
    fabric.launch()
    console.quiet = not fabric.is_global_zero
    refuse_existing(output, overwrite)
    fabric.barrier()
    if start and start.card.backbone != recipe.network.backbone:
        raise InputError(
            f"the model to start from has the backbone {start.card.backbone}, the recipe "
            f"{recipe.network.backbone}; add --set network.backbone={start.card.backbone}"
        )
    started = time.monotonic()
    work = output.with_name(f"{output.name}.unfinished")
    settings = {
        "recipe": recipe.model_dump(mode="json"),
        "seed": seed,
        "split": split_hash(roles),
        "specimens": collection.fingerprint,
        "torch": torch.__version__,
        "start": start.card.files if start else {},
    }
    if fabric.is_global_zero:
        _enter(work, settings, overwrite)
    learn, select, classes, skipped = _load(fabric, collection, roles, recipe.network.size, work)
    torch.manual_seed(seed)
    network, backbone = build(recipe.network, len(classes))
    if start:
        network.backbone.load_state_dict(start.network.backbone.state_dict())
    seconds = 0.0
    history: list[dict[str, float]] = []
    if recipe.epochs:
        network, history, seconds = _loop(fabric, network, recipe, learn, select, seed, work)
    if not fabric.is_global_zero:
        fabric.barrier()
        return Embedder.load(output)
    if recipe.network.components:
        rows = thin(learn.taxa, math.ceil(COVARIANCE / len(classes)), seed)
        features = features_of(network, learn.squares[rows], recipe.views)
        whiten(network, features, learn.numbers[rows], recipe.network.components)

    card = ModelCard.describe(
        recipe=recipe,
        backbone=backbone,
        classes=classes,
        dimensions=network.dimensions,
        seed=seed,
        data={
            "collection": collection.info.get("name", ""),
            "specimens": settings["specimens"],
            "split": settings["split"],
            "split_name": split_name,
            "train": len(learn.ids),
            "val": len(select.ids),
            "skipped": len(skipped),
            "licence": collection.info.get("licence", "not stated"),
        },
        training={
            "epochs": history,
            "images": recipe.epochs * _images_per_epoch(learn, recipe, seed),
            "parameters": sum(p.numel() for p in network.parameters()),
            "started_from": start.card.title if start else "",
        },
    )
    network.to("cpu")
    runtime = TorchRuntime(network, recipe.views)
    with bar("embedding the gallery", len(learn.ids)) as advance:
        vectors, _ = runtime.run(learn.squares, advance)
    model = Embedder(runtime, card, Gallery(learn.ids, learn.taxa, vectors))
    got = Vectors(list(range(len(select.ids))), *model.embed_squares(select.squares), {})
    try:
        model.calibrate(got, select.taxa)
    except InputError as error:
        console.print(f"[yellow]warning:[/] no calibration: {error}", highlight=False)
    card.training["seconds"] = round(seconds + time.monotonic() - started, 1)
    model.save(output, overwrite=overwrite, skipped=skipped)
    shutil.rmtree(work)
    fabric.barrier()
    return model


def keep_memory() -> None:
    """Let glibc keep freed memory, as long as the process lives, for the next step.

    A step frees and asks for hundreds of large blocks; to hand each back to the system and have
    its pages cleared anew took a quarter of the time of a step on two processors.
    """
    if platform.libc_ver()[0] == "glibc":
        mmap_max, trim_threshold = -4, -1  # malloc.h
        libc = ctypes.CDLL(None)
        libc.mallopt(mmap_max, 0)
        libc.mallopt(trim_threshold, 2**31 - 1)


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


def _loop(
    fabric: Fabric,
    network: SpecimenNetwork,
    recipe: Recipe,
    learn: Data,
    select: Data,
    seed: int,
    work: Path,
) -> tuple[SpecimenNetwork, list[dict[str, float]], float]:
    """Run every step that is left; return the best averaged network, its history, past seconds."""
    loss_of = BatchLoss(recipe.loss, int(learn.numbers.max()) + 1, network.dimensions)
    optimiser = _optimiser(network, loss_of, recipe.optimiser)
    # The decay rises with the step, or a short run would keep half of its untrained weights.
    if fabric.world_size > 1 and fabric.device.type == "cuda":
        # As if one device had seen the whole batch; there is no such layer for processors.
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    average = ModelEmaV3(network, decay=recipe.average, use_warmup=True)
    wrapped, optimiser = fabric.setup(network, optimiser)
    average.to(fabric.device)
    loss_of.to(fabric.device)
    # A loss with parameters of its own learns them together on all devices.
    shared_loss = fabric.setup_module(loss_of) if list(loss_of.parameters()) else loss_of
    per_epoch = len(epoch_batches(learn.numbers, recipe.sampler, seed, 0))
    total = per_epoch * recipe.epochs
    modules = {"network": network, "average": average.module, "loss": loss_of}
    state = checkpoint.load(work, modules, optimiser)
    if state.step:
        console.print(f"continuing {work} from step {state.step} of {total}")
    earlier, collapsed = state.seconds, 0
    saved_at, begun = time.monotonic(), time.monotonic()
    with bar("training (steps)", total) as advance:
        advance(state.step)
        for step, rows in _batches(learn, recipe, seed, per_epoch, state.step):
            wrapped.train()
            torch.manual_seed(_mix(seed, step, fabric.global_rank))
            generator = torch.Generator().manual_seed(_mix(seed, step, 0) + 1)
            _set_rates(optimiser, recipe.optimiser, step, total)
            # Each process gets as many; a batch that does not divide begins again.
            rows = np.resize(rows, math.ceil(len(rows) / fabric.world_size) * fabric.world_size)
            squares = to_batch(learn.squares[rows], fabric.device)
            labels = torch.from_numpy(learn.numbers[rows]).to(fabric.device)
            squares = augment(squares, recipe.augment, generator)
            vectors, scores = wrapped(squares.chunk(fabric.world_size)[fabric.global_rank])
            if fabric.world_size > 1:
                vectors = _of_all(fabric, vectors)
                scores = None if scores is None else _of_all(fabric, scores)
            loss = shared_loss(vectors, scores, labels)
            if not torch.isfinite(loss):
                raise InputError(f"the loss is {loss.item()} at step {step}: {DIVERGED}")
            optimiser.zero_grad()
            fabric.backward(loss)
            if recipe.optimiser.clip:
                fabric.clip_gradients(wrapped, optimiser, max_norm=recipe.optimiser.clip)
            optimiser.step()
            average.update(network, step=step + 1)
            advance(1, f"loss {loss.item():.2f}")

            state.step = step + 1
            if state.step % per_epoch == 0:
                epoch = state.step // per_epoch
                row = {"epoch": epoch, "loss": round(loss.item(), 4)}
                # In the last third every second epoch, the very last among them.
                if epoch > recipe.epochs * 2 // 3 and (recipe.epochs - epoch) % 2 == 0:
                    row["val_macro_f1"] = _validate(average.module, learn, select, seed)
                    if row["val_macro_f1"] >= state.best:
                        state.best = row["val_macro_f1"]
                        if fabric.is_global_zero:
                            checkpoint.save_best(work, average.module)
                state.history.append(row)
                collapsed = collapsed + 1 if _collapsed(vectors.detach()) else 0
                if collapsed == 2:
                    raise InputError(
                        f"after epoch {epoch} all embeddings of a batch coincide, as they did an "
                        f"epoch before: training has collapsed. Lower the rates "
                        f"(--set optimiser.backbone_rate=…) or the weight of the metric loss "
                        f"(--set loss.metric_weight=…), and pass --overwrite."
                    )
            due = time.monotonic() - saved_at > CHECKPOINT_SECONDS
            if (state.step % per_epoch == 0 or due) and fabric.is_global_zero:
                now = time.monotonic()
                state.seconds += now - begun
                begun = saved_at = now
                checkpoint.save(work, modules, optimiser, state)
    fabric.barrier()
    checkpoint.load_best(work, network)
    return network, state.history, earlier


def _of_all(fabric: Fabric, part: Tensor) -> Tensor:
    """What all processes made of a batch, in its order; gradients find their way back to each."""
    return torch.as_tensor(fabric.all_gather(part, sync_grads=True)).flatten(0, 1)


def _images_per_epoch(learn: Data, recipe: Recipe, seed: int) -> int:
    return sum(len(rows) for rows in epoch_batches(learn.numbers, recipe.sampler, seed, 0))


def _batches(
    learn: Data, recipe: Recipe, seed: int, per_epoch: int, done: int
) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """The batches after the first `done`, each with its number from the beginning of training."""
    for epoch in range(done // per_epoch, recipe.epochs):
        batches = epoch_batches(learn.numbers, recipe.sampler, seed, epoch)
        for index, rows in enumerate(batches):
            if epoch * per_epoch + index >= done:
                yield epoch * per_epoch + index, rows


def _validate(network: nn.Module, learn: Data, select: Data, seed: int) -> float:
    """Macro F1 of 5 nearest neighbours on the validation specimens, plain pixels, one view."""
    rows = thin(learn.taxa, VALIDATION_GALLERY, seed)
    network.eval()
    gallery = Gallery([learn.ids[i] for i in rows], learn.taxa[rows], _embed(network, learn, rows))
    named = gallery.predict(_embed(network, select, np.arange(len(select.ids))))
    return round(macro_f1(select.taxa, named), 4)


@torch.inference_mode()
def _embed(network: nn.Module, data: Data, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    device = next(network.parameters()).device
    parts = [
        network(to_batch(data.squares[rows[i : i + 64]], device))[0].cpu().numpy()
        for i in range(0, len(rows), 64)
    ]
    vectors = np.concatenate(parts)
    if not np.isfinite(vectors).all():
        raise InputError(f"the network's vectors are not finite: {DIVERGED}")
    return vectors


def _load(
    fabric: Fabric, collection: Collection, roles: pd.Series, size: int, work: Path
) -> tuple[Data, Data, list[str], dict[str, str]]:
    """Prepare the images of both roles in one file on disk, so that memory stays small.

    The first process does it; the others read what it wrote.
    """
    taxa, role = collection.taxa(), roles.to_numpy()
    # Train first, so that both roles are slices of one file on disk and nothing is copied.
    wanted = np.concatenate([np.flatnonzero((role == r) & (taxa != "")) for r in ("train", "val")])
    if not len(wanted):
        raise InputError("the split has no labelled specimens of role train or val.")
    file, readable, failures = work / "squares.npy", list[int](), dict[int, str]()
    if fabric.is_global_zero:
        paths = collection.paths()
        store = disk_array(file, (len(wanted), size, size, 3))
        squares, readable, failures = load_squares([paths[i] for i in wanted], size, out=store)
    readable, failures = fabric.broadcast((readable, failures))
    if not fabric.is_global_zero:
        squares = np.load(file, mmap_mode="r")[: len(readable)]
    kept = wanted[readable]
    names, ids = taxa[kept], collection.specimens["id"].to_numpy()[kept]
    border = int((role[kept] == "train").sum())
    classes = sorted(set(names[:border]))
    if len(classes) < 2:
        raise InputError(
            f"training needs at least two taxa with images of role train; there "
            f"{'is ' + classes[0] if classes else 'are none'}."
        )
    if border == len(kept):
        raise InputError("the split has no specimens of role val, which selection needs.")

    def part(rows: slice) -> Data:
        return Data(squares[rows], names[rows], ids[rows].tolist())

    images = collection.specimens["image"]
    skipped = {str(images.iloc[wanted[i]]): reason for i, reason in failures.items()}
    return part(slice(border)), part(slice(border, None)), classes, skipped


def _optimiser(
    network: SpecimenNetwork, loss_of: BatchLoss, settings: Optimiser
) -> torch.optim.Optimizer:
    backbone = [p for p in network.backbone.parameters() if p.requires_grad]
    heads = [p for n, p in network.named_parameters() if not n.startswith("backbone.")]
    heads += list(loss_of.parameters())
    groups = [
        {"params": backbone, "peak": settings.backbone_rate},
        {"params": heads, "peak": settings.head_rate},
    ]
    if settings.kind == "adamw":
        return torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
    return torch.optim.SGD(
        groups, lr=1e-3, momentum=settings.momentum, weight_decay=settings.weight_decay
    )


def _set_rates(optimiser: Any, settings: Optimiser, step: int, total: int) -> None:
    share = share_of_peak(settings.schedule, step, total, settings.warmup)
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * share


def share_of_peak(schedule: str, step: int, total: int, warmup: float) -> float:
    """Share of the peak rate at a step: all of it (`constant`), or linear up over the first
    `warmup` of the steps and then held (`warmup`) or along a cosine to zero (`onecycle`).

    >>> [round(share_of_peak("onecycle", step, 100, 0.1), 2) for step in (0, 9, 10, 55, 99)]
    [0.1, 1.0, 1.0, 0.5, 0.0]
    >>> [round(share_of_peak("warmup", step, 100, 0.1), 2) for step in (0, 9, 10, 99)]
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
    """Whether a whole batch lies on one point: the network has stopped telling shells apart."""
    spread = float(vectors.var(0).sum())
    size = float(vectors.pow(2).sum(1).mean())
    return spread < 1e-3 * max(size, 1e-12)


def _enter(work: Path, settings: dict[str, Any], overwrite: bool) -> None:
    if checkpoint.exists(work):
        if read_json(work / "run.json") == settings:
            return
        if not overwrite:
            raise InputError(
                f"{work} holds an unfinished run with other settings or data; "
                f"finish it with those, remove the folder, or pass --overwrite."
            )
        shutil.rmtree(work)
    work.mkdir(parents=True, exist_ok=True)
    write_json(work / "run.json", settings)


def _precision() -> Any:
    return "bf16-mixed" if torch.cuda.is_available() else "32-true"


def _mix(seed: int, step: int, rank: int) -> int:
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1)[0])
