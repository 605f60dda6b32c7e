"""What the background tells: names and groups from the corners of the images alone.

python experiments/background.py COLLECTION --splits open_1,open_2 [--model MODEL] -o FILE.json

Mean, standard deviation and gradient of four corners of 8 × 8 pixels are all that a random forest
gets to name test specimens, and Ward's method to group unseen taxa. What it achieves tells how much
of a figure may be due to slides, light and stain: specimens of a taxon mostly come from few slides.

With a model (trained on the only split given), its test and unseen specimens are evaluated as they
are, and with all that is not the specimen replaced: by one gray level, and by the background of an
image of another taxon.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage.filters import threshold_otsu
from sklearn.ensemble import RandomForestClassifier
from sklearn.preprocessing import StandardScaler

from forametric import metrics
from forametric._typing import FloatArray, Pixels
from forametric.analysis.clustering import cluster
from forametric.data.collection import Collection
from forametric.data.embeddings import Embeddings
from forametric.data.splits import Split
from forametric.evaluation.evaluate import unseen_scores
from forametric.evaluation.predictions import predict
from forametric.images import load_images
from forametric.model.model import Model
from forametric.utils.files import write_json

CORNER = 8  # pixels
FRAME = 4  # pixels at the side of an image with a frame


def corner_features(path: Path) -> FloatArray:
    """Mean, standard deviation and mean gradient of the four corners, shape (12,)."""
    with Image.open(path) as image:
        gray = np.asarray(image.convert("L"), np.float32)
    corners = [gray[y, x] for y in (slice(CORNER), slice(-CORNER, None))
               for x in (slice(CORNER), slice(-CORNER, None))]  # fmt: skip
    rows = [(c.mean(), c.std(), np.abs(np.diff(c, axis=1)).mean()) for c in corners]
    return np.array(rows, np.float32).ravel()


def corner_scores(features: FloatArray, split: Split) -> dict[str, float]:
    """How well corners name the known specimens of test, and group the unseen taxa."""
    taxa = split.collection.taxa().astype(str)
    learnt, test, unseen = (split.of(*s) for s in (("train", "val"), ("test",), ("unseen",)))
    forest = RandomForestClassifier(300, random_state=0, n_jobs=1)
    named = forest.fit(features[learnt], taxa[learnt]).predict(features[test])
    standard = StandardScaler().fit_transform(features)[unseen].astype(np.float32)
    clusters = cluster(standard, len(np.unique(taxa[unseen])))[0]
    scores = metrics.clustering_scores(taxa[unseen], clusters)
    return {
        "accuracy": metrics.accuracy(taxa[test], named),
        "macro_f1": metrics.macro_f1(taxa[test], named),
        "unseen_matched_accuracy": scores["matched_accuracy"],
        "unseen_ami": scores["ami"],
    }


def specimen_mask(image: Pixels) -> np.ndarray:
    """The pixels of the specimen: the largest part that differs from the edge, without holes."""
    gray = ndimage.gaussian_filter(image.mean(2), 1)
    mask = _differing(gray)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return np.ones(gray.shape, bool)
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    if mask[box].mean() > 0.95:  # the image with its background: it has a frame of another tone
        inner = tuple(slice(side.start + FRAME, side.stop - FRAME) for side in box)
        mask = np.zeros(gray.shape, bool)
        mask[inner] = _differing(gray[inner])
    return np.asarray(ndimage.binary_dilation(mask, iterations=2), bool)


def _differing(gray: FloatArray) -> np.ndarray:
    edge = np.concatenate([gray[:3].ravel(), gray[-3:].ravel(), gray[:, :3].ravel()])
    differs = np.abs(gray - np.median(edge))
    inside = ndimage.binary_fill_holes(differs > threshold_otsu(differs) / 2)
    labels, count = ndimage.label(ndimage.binary_opening(inside, iterations=2))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    return labels == 1 + int(np.argmax(sizes)) if count else np.zeros(gray.shape, bool)


def model_scores(model: Model, split: Split, replaced: str) -> dict[str, float]:
    """Scores of test and unseen specimens; `replaced`: "", "gray" or "other"."""
    found = predict(model, split)
    chosen = np.flatnonzero(np.isin(found.subsets, ["test", "unseen"]))
    paths = [split.collection.path(int(row)) for row in found.rows[chosen]]
    images, readable, _ = load_images(paths, model.embedder.image_size)
    subsets, taxa = found.subsets[chosen][readable], found.taxa[chosen][readable].astype(str)
    rng = np.random.default_rng(0)
    masks = [specimen_mask(image) for image in images] if replaced else []
    changed = images.copy()
    for row, mask in enumerate(masks):
        if replaced == "gray":
            changed[row][~mask] = 128
            continue
        other = int(rng.choice(np.flatnonzero(taxa != taxa[row])))
        of_other = images[other][~masks[other]]
        if len(of_other):  # background pixels of another image, in random order
            changed[row][~mask] = of_other[rng.integers(0, len(of_other), int((~mask).sum()))]
    vectors, classes = model.embedder.embed_inputs(changed, progress="")
    embeddings = Embeddings.of_vectors(vectors, classes)
    test = subsets == "test"
    named = model.identifier.predict(embeddings[test]).astype(str)
    unseen = unseen_scores(embeddings[~test], taxa[~test].astype(object))
    return {
        "accuracy": metrics.accuracy(taxa[test], named),
        "macro_f1": metrics.macro_f1(taxa[test], named),
        "unseen_matched_accuracy": unseen["matched_accuracy"],
        "unseen_ami": unseen["ami"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("collection", type=Path)
    parser.add_argument("--splits", required=True)
    parser.add_argument("--model", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    collection = Collection.open(arguments.collection)
    features = np.stack([corner_features(path) for path in collection.paths()])
    names = arguments.splits.split(",")
    results: dict[str, dict[str, dict[str, float]]] = {"corners": {}}
    for name in names:
        split = Split.load(collection, name)
        results["corners"][Path(name).stem] = corner_scores(features, split)
    if arguments.model:
        model, split = Model.load(arguments.model), Split.load(collection, names[0])
        results["model"] = {
            title: model_scores(model, split, replaced)
            for title, replaced in (
                ("as they are", ""),
                ("background one gray", "gray"),
                ("background of other taxa", "other"),
            )
        }
    print(json.dumps(results, indent=1))
    write_json(arguments.output, results)


if __name__ == "__main__":
    main()
