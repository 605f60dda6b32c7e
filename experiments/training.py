"""Training speed compared with the published procedure, with the same backbone and image size.

python experiments/training.py                    # EfficientNet-Lite0, simulated shells, 128 px
python experiments/training.py --published 224    # the published procedure at its own size
python experiments/training.py --against augment.microscope.share=0    # without a setting

The published procedure, as in its repository: each image is decoded and augmented for each item,
the three images of a triplet are passed through the network separately, a Python loop mines the
hardest negatives, and the optimizer is SGD. Forametric: preprocessed images in a memory-mapped
file, one pass, augmentation and mining on tensors, the default recipe (or another, with --recipe).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn

from forametric.embedding.network import build, to_batch
from forametric.embedding.recipe import Recipe
from forametric.images import load_images
from forametric.simulation import write_shells
from forametric.training.augment import augment
from forametric.training.losses import BatchLoss
from forametric.training.sampling import epoch_batches
from forametric.utils.files import disk_array
from forametric.utils.malloc import tuned_malloc

BATCH = 16  # triplets of the published procedure


def published_step(paths: list[Path], labels: np.ndarray, size: int) -> Callable[[int], int]:
    """A step of the published procedure, which returns its number of images."""
    settings = Recipe.load("karaderi2022", [f"network.image_size={size}"]).network
    network, _ = build(
        settings.model_copy(update={"backbone": "tf_efficientnet_lite0"}), int(labels.max()) + 1
    )
    optimiser = torch.optim.SGD(network.parameters(), 1e-3, weight_decay=1e-4)
    cross_entropy = nn.CrossEntropyLoss()
    network.train()

    def item(row: int, rng: np.random.Generator) -> Tensor:
        image = Image.open(paths[row]).convert("RGB").resize((size, size))
        image = image.rotate(float(rng.uniform(-90, 90)))
        image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.1, 1))))
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)

    def step(number: int) -> int:
        rng = np.random.default_rng(number)
        anchors = rng.choice(len(labels), BATCH, replace=False)
        positives = [rng.choice(np.flatnonzero(labels == labels[a])) for a in anchors]
        negatives = [rng.choice(np.flatnonzero(labels != labels[a])) for a in anchors]
        vectors, loss = [], torch.zeros(())
        for rows in (anchors, positives, negatives):
            vector, scores = network(torch.stack([item(int(r), rng) for r in rows]))
            vectors.append(vector)
            assert scores is not None
            loss = loss + cross_entropy(scores, torch.from_numpy(labels[np.array(rows)]))
        a, p, n = vectors
        terms = []
        for i in range(BATCH):
            others = [j for j in range(BATCH) if labels[anchors[j]] != labels[anchors[i]]]
            distances = [((a[i] - a[j]) ** 2).sum() for j in others] + [((a[i] - n[i]) ** 2).sum()]
            hardest = min(distances, key=float)
            terms.append(((a[i] - p[i]) ** 2).sum() + 1 / hardest.clamp_min(1e-4))
        loss = loss + 0.01 * torch.stack(terms).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return 3 * BATCH

    return step


def recipe_step(images: np.ndarray, labels: np.ndarray, recipe: Recipe) -> Callable[[int], int]:
    """A step of a recipe's training, which returns its number of images."""
    network, _ = build(recipe.network, int(labels.max()) + 1)
    loss_of = BatchLoss(recipe.loss, int(labels.max()) + 1, network.dimensions)
    trained = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained + list(loss_of.parameters()), 1e-3)
    average = ModelEmaV3(network, decay=recipe.ema_decay, use_warmup=True)
    batches = [b for e in range(40) for b in epoch_batches(labels, recipe.sampler, 0, e)]
    network.train()

    def step(number: int) -> int:
        rows = batches[number % len(batches)]
        generator = torch.Generator().manual_seed(number)
        vectors, scores = network(augment(to_batch(images[rows]), recipe.augment, generator))
        loss = loss_of(vectors, scores, torch.from_numpy(labels[rows]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        average.update(network, step=number + 1)
        return len(rows)

    return step


def rate(step: Callable[[int], int], seconds: float) -> float:
    """Images per second, after three steps to warm up."""
    for number in range(3):
        step(number)
    images, number, start = 0, 3, time.perf_counter()
    while time.perf_counter() - start < seconds:
        images += step(number)
        number += 1
    return images / (time.perf_counter() - start)


def alternating(steps: list[Callable[[int], int]], seconds: float, rounds: int) -> list[float]:
    """The median time of one image over that of the first step's, for each step, over rounds."""
    rates = np.array([[rate(step, seconds / rounds) for step in steps] for _ in range(rounds)])
    return np.median(rates[:, :1] / rates, axis=0).tolist()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="default")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--published", type=int, help="image size of the published procedure")
    parser.add_argument("--against", help="a setting without which the recipe is timed too")
    parser.add_argument("--seconds", type=float, default=30)
    arguments = parser.parse_args()
    recipe = Recipe.load(arguments.recipe, [f"network.image_size={arguments.size}"])
    with tempfile.TemporaryDirectory() as folder:
        table = write_shells(Path(folder), 12, size=224)
        paths = [Path(folder) / image for image in table["image"]]
        labels = np.unique(table["label"], return_inverse=True)[1].astype(np.int64)
        store = disk_array(
            Path(folder) / "images.npy", (len(paths), arguments.size, arguments.size, 3)
        )
        images, _, _ = load_images(paths, arguments.size, out=store)
        if arguments.against:
            plain = recipe.with_settings([arguments.against])
            with tuned_malloc():
                steps = [recipe_step(images, labels, r) for r in (plain, recipe)]
                ratio = alternating(steps, arguments.seconds, 10)[1]
            parser.exit(message=f"{ratio:.3f} of the time with {arguments.against}\n")
        step = published_step(paths, labels, arguments.published or arguments.size)
        published = rate(step, arguments.seconds)
        with tuned_malloc():
            own = rate(recipe_step(images, labels, recipe), arguments.seconds)
    print(f"published procedure: {published:.1f} images/s")
    print(f"{recipe.name}: {own:.1f} images/s, {own / published:.2f} times as many")
