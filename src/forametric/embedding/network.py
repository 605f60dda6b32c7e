"""The network: from uint8 images to embeddings and class scores."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg
import timm
import torch
from torch import Tensor, nn

from forametric._typing import Float64Array, IntArray, Pixels
from forametric.embedding import recipe as recipes
from forametric.embedding.pretrained import load_pretrained, pixel_scaling
from forametric.errors import InputError

logger = logging.getLogger(__name__)
SHRINKAGE = 128.0  # number of specimens at which the mean variance counts as much as an axis's own
MIN_VARIANCE = 1e-12  # features that are all alike have none
PROJECTION_LENGTH = 0.7  # of the trained projection's part of a vector; the whitened part has 1


class SpecimenNetwork(nn.Module):
    """Backbone, neck, embedding and class head.

    Everything after the uint8 image happens here, so that training, evaluation and an exported
    graph share it: the cast, the backbone's mean and standard deviation, the L2 norm.
    """

    mean: Tensor
    deviation: Tensor
    backbone: Any

    def __init__(
        self, settings: recipes.Network, backbone: str, classes: int, whitened: int = 0
    ) -> None:
        """A network as in a recipe.

        `classes`: the width of the class head, 0 for none; `whitened`: the number of a saved
        network's whitened dimensions.
        """
        super().__init__()
        try:
            self.backbone = timm.create_model(backbone, pretrained=False, num_classes=0)
        except RuntimeError as error:
            raise InputError(f"timm does not have the backbone {backbone!r}: {error}") from None
        mean, deviation = pixel_scaling(backbone, self.backbone.pretrained_cfg)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer(
            "deviation", torch.tensor(deviation).view(1, 3, 1, 1), persistent=False
        )
        width = int(self.backbone.num_features)
        self.neck: nn.Module = nn.Identity()
        if settings.neck == "batchnorm":
            self.neck = nn.Sequential(nn.BatchNorm1d(width), nn.Dropout(settings.dropout))
        elif settings.neck == "hidden":
            self.neck = nn.Sequential(
                nn.Linear(width, settings.hidden_units), nn.ReLU(), nn.Dropout(settings.dropout)
            )
            width = settings.hidden_units
        projected = settings.projection_dim > 0
        self.normalize = settings.normalize
        self.project = nn.Linear(width, settings.projection_dim) if projected else nn.Identity()
        has_head = classes and settings.neck != "none"
        self.head = nn.Linear(width, classes) if has_head else None
        self.dimensions = settings.projection_dim if projected else width
        self.whitened: nn.Linear | None = None
        if whitened:
            self._add_whitened(nn.Linear(width, whitened))
        self._freeze = settings.freeze
        for layer in self._frozen():
            layer.requires_grad_(False)

    def _frozen(self) -> list[nn.Module]:
        """The frozen layers, found each time: converting to SyncBatchNorm replaces layers."""
        layers = [m for m in self.backbone.modules() if list(m.parameters(recurse=False))]
        return layers[: round(self._freeze * len(layers))]

    def train(self, mode: bool = True) -> SpecimenNetwork:
        """As in torch, but frozen layers keep their statistics too."""
        super().train(mode)
        for layer in self._frozen():
            layer.eval()
        return self

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """Embed uint8 inputs of shape (n, 3, size, size), values 0 to 255.

        Returns embeddings (n, dimensions) and class scores (n, classes), or None for a network
        without a class head.
        """
        features = self.features(inputs)
        vectors = self.project(features).float()
        if self.whitened is not None:
            projected = PROJECTION_LENGTH * nn.functional.normalize(vectors)
            whitened = nn.functional.normalize(self.whitened(features).float())
            vectors = torch.cat([projected, whitened], 1)
        if self.normalize:
            vectors = nn.functional.normalize(vectors)
        return vectors, None if self.head is None else self.head(features).float()

    def _add_whitened(self, whitened: nn.Linear) -> None:
        self.whitened = whitened
        self.dimensions += whitened.out_features

    def features(self, inputs: Tensor) -> Tensor:
        """The output of the neck, before embedding and class head: (n, width)."""
        pixels = (inputs.float() / 255.0 - self.mean) / self.deviation
        features: Tensor = self.neck(self.backbone(pixels.to(memory_format=torch.channels_last)))
        return features


def whiten(network: SpecimenNetwork, features: Tensor, labels: IntArray, whitened_dim: int) -> None:
    """Append whitened principal components of the features to the trained projection.

    A contrastive loss makes its projection discard information that does not separate the training
    species. The features before it keep this information (Chen et al. 2020, SimCLR, section 4.2),
    and unseen species need it. The projection is better at known species and at images without a
    specimen. So a vector has both parts, each with a fixed length.

    The axes are those of the mean of two covariances: of all specimens, and within species. Each
    axis is scaled to variance 1. Small variances are estimated poorly from few specimens, so all
    are shrunk towards the mean variance. The mean is not subtracted: a vector near the mean, which
    resembles no species, would get an arbitrary direction on the unit sphere.

    Parameters
    ----------
    features : Tensor of shape (n, width)
        `SpecimenNetwork.features` of training specimens.
    labels : ndarray of int64, shape (n,)
        The species of each specimen, as a number.
    whitened_dim : int
        The number of axes to keep; no more than there are features.
    """
    features = features.double()
    centered = features - features.mean(0)
    within = features.clone()
    for label in np.unique(labels):
        of = torch.from_numpy(labels == label)
        within[of] -= features[of].mean(0)
    variances, axes = _principal_axes(torch.cat([centered, within]).numpy())
    variances += variances.mean() * SHRINKAGE / len(features)
    kept = min(whitened_dim, features.shape[1])
    scaled = axes[:kept] / np.sqrt(variances[:kept, None].clip(min=MIN_VARIANCE))
    whitened = nn.Linear(features.shape[1], kept)
    with torch.no_grad():
        whitened.weight.copy_(torch.from_numpy(scaled))
        whitened.bias.zero_()
    network._add_whitened(whitened)


def _principal_axes(deviations: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Variances and axes (rows), largest first, of deviations of shape (n, width).

    From the singular values, not from the eigenvalues of the covariance: with fewer specimens than
    features the covariance is singular, and eigensolvers fail to converge on some processors.
    """
    triangle = scipy.linalg.qr(deviations, mode="r", check_finite=False)[0][: deviations.shape[1]]
    _, singular, axes = scipy.linalg.svd(triangle)
    variances = np.zeros(len(axes))
    variances[: len(singular)] = singular**2 / len(deviations)
    return variances, axes


def build(
    settings: recipes.Network, classes: int, *, pretrained: bool = True
) -> tuple[SpecimenNetwork, str]:
    """A network ready to train, and the name of its backbone: the recipe's, or its fallback.

    `classes` is the width of its class head, 0 for none.

    Without `pretrained`, no weights are looked for, which may be on the hub.
    """
    backbone = settings.backbone
    network = SpecimenNetwork(settings, backbone, classes)
    if settings.pretrained and pretrained:
        try:
            load_pretrained(network.backbone, backbone)
        except InputError as error:
            if settings.fallback is None:
                raise
            logger.warning(
                "%s Starting from %s instead, the `fallback` of this recipe; "
                "the model card records it.",
                error,
                settings.fallback,
            )
            backbone = settings.fallback
            network = SpecimenNetwork(settings, backbone, classes)
            load_pretrained(network.backbone, backbone)
    return network.to(memory_format=torch.channels_last), backbone


@torch.inference_mode()
def features_of(network: SpecimenNetwork, inputs: Pixels, views: int, batch: int = 32) -> Tensor:
    """The neck's features of images (n, size, size, 3), averaged over `views`: (n, width)."""
    device = next(network.parameters()).device
    network.eval()
    parts = []
    for start in range(0, len(inputs), batch):
        rotated = symmetries(to_batch(inputs[start : start + batch], device), views)
        parts.append(torch.stack([network.features(x) for x in rotated]).mean(0).cpu())
    return torch.cat(parts)


def to_batch(inputs: Pixels, device: torch.device | str = "cpu") -> Tensor:
    """Images of shape (n, size, size, 3) as a uint8 tensor of shape (n, 3, size, size)."""
    return torch.from_numpy(np.ascontiguousarray(inputs)).to(device).permute(0, 3, 1, 2)


def symmetries(inputs: Tensor, views: int) -> list[Tensor]:
    """The first `views` of the eight exact rotations and reflections of square images."""
    rotated = [torch.rot90(inputs, k, (2, 3)) for k in range(min(views, 4))]
    return rotated + ([t.flip(3) for t in rotated] if views == 8 else [])


class Deployed(nn.Module):
    """A network for inference: from images as stored to vectors and class probabilities.

    Both are averaged over the first `views` symmetries of the image.
    """

    def __init__(self, network: SpecimenNetwork, views: int) -> None:
        super().__init__()
        self.network = network
        self.views = views

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """From uint8 (n, size, size, 3) to (n, dimensions) and (n, classes)."""
        rotated = symmetries(inputs.permute(0, 3, 1, 2), self.views)
        vectors, scores = self.network(torch.cat(rotated))
        vectors = vectors.reshape(self.views, -1, vectors.shape[1]).mean(0)
        if self.network.normalize:
            vectors = nn.functional.normalize(vectors)
        if scores is None:
            return vectors, vectors[:, :0]
        classes = scores.softmax(1).reshape(self.views, -1, scores.shape[1]).mean(0)
        return vectors, classes


def export_onnx(network: SpecimenNetwork, views: int, size: int, path: Path) -> None:
    """Write `Deployed` as an ONNX graph with a variable number of inputs."""
    deployed = Deployed(network.cpu(), views).eval()  # it may be on a GPU
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    names = ["vectors"] if network.head is None else ["vectors", "classes"]
    with warnings.catch_warnings(action="ignore"):
        torch.onnx.export(
            deployed if network.head is not None else _Vectors(deployed),
            (example,),
            path,
            input_names=["inputs"],
            output_names=names,
            dynamic_shapes=({0: torch.export.Dim("n", min=1)},),
            external_data=False,
            dynamo=True,
            verbose=False,
        )


class _Vectors(nn.Module):
    """Only the vectors, for a network without a class head: a graph has no empty outputs."""

    def __init__(self, deployed: Deployed) -> None:
        super().__init__()
        self.deployed = deployed

    def forward(self, inputs: Tensor) -> Tensor:
        vectors: Tensor = self.deployed(inputs)[0]
        return vectors
