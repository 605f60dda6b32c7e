"""Losses on a batch: cross-entropy plus a metric loss.

The metric losses come from pytorch-metric-learning, except the triplet losses with hardest-negative
mining, which are implemented here.
"""

from __future__ import annotations

import torch
from pytorch_metric_learning.losses import (
    ArcFaceLoss,
    MultiSimilarityLoss,
    ProxyAnchorLoss,
    SupConLoss,
)
from torch import Tensor, nn

from forametric.embedding.recipe import Loss


def hardest_negative_triplets(squared: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Every anchor–positive pair of the batch, with the anchor's nearest negative.

    Parameters
    ----------
    squared : Tensor, shape (n, n)
        Squared Euclidean distances within the batch.
    labels : Tensor of int, shape (n,)

    Returns
    -------
    anchors, positives, negatives : Tensor of int, shape (t,)
        Empty if the batch has only one label.
    """
    same = labels[:, None] == labels[None, :]
    hardest = squared.masked_fill(same, torch.inf).argmin(1)
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    anchors, positives = (same & ~itself & ~same.all(1, keepdim=True)).nonzero(as_tuple=True)
    return anchors, positives, hardest[anchors]


def squared_distances(vectors: Tensor) -> Tensor:
    """Squared Euclidean distances between the rows, shape (n, n), differentiable everywhere."""
    products = vectors @ vectors.T
    norms = products.diagonal()
    return (norms[:, None] + norms[None, :] - 2 * products).clamp_min(0)


def triplet_loss(vectors: Tensor, labels: Tensor, margin: float) -> Tensor:
    """Mean of max(0, d²(a,p) − d²(a,n) + margin) over the mined triplets (Karaderi 2022, eq. 2)."""
    squared = squared_distances(vectors)
    a, p, n = hardest_negative_triplets(squared.detach(), labels)
    return (
        (squared[a, p] - squared[a, n] + margin).clamp_min(0).mean()
        if len(a)
        else squared.sum() * 0
    )


def reciprocal_triplet_loss(vectors: Tensor, labels: Tensor) -> Tensor:
    """Mean of d²(a,p) + 1 / d²(a,n) over the mined triplets (Karaderi et al. 2022, eq. 3).

    It needs no margin. Squared distances to negatives below 1e-4 count as 1e-4, so that the loss
    stays finite when a negative coincides with its anchor.

    >>> on_a_line = torch.tensor([[0.0], [1.0], [3.0]])
    >>> round(reciprocal_triplet_loss(on_a_line, torch.tensor([0, 0, 1])).item(), 4)
    1.1806
    """
    squared = squared_distances(vectors)
    a, p, n = hardest_negative_triplets(squared.detach(), labels)
    if not len(a):
        return squared.sum() * 0
    return (squared[a, p] + 1 / squared[a, n].clamp_min(1e-4)).mean()


class BatchLoss(nn.Module):
    """The loss of a recipe, on the embeddings and class scores of one batch.

    ArcFace and proxy-anchor have parameters, a vector for each class, that are trained with the
    network.
    """

    def __init__(self, settings: Loss, classes: int, dimensions: int) -> None:
        super().__init__()
        self.settings = settings
        self.cross_entropy = nn.CrossEntropyLoss(label_smoothing=settings.label_smoothing)
        self.metric_loss: nn.Module | None = None
        if settings.metric == "supcon":
            self.metric_loss = SupConLoss(temperature=settings.temperature)
        elif settings.metric == "multisimilarity":
            self.metric_loss = MultiSimilarityLoss()
        elif settings.metric == "arcface":
            self.metric_loss = ArcFaceLoss(classes, dimensions)
        elif settings.metric == "proxyanchor":
            self.metric_loss = ProxyAnchorLoss(classes, dimensions)

    def forward(self, vectors: Tensor, scores: Tensor | None, labels: Tensor) -> Tensor:
        loss = vectors.sum() * 0
        if self.settings.cross_entropy and scores is not None:
            loss = loss + self.settings.cross_entropy * self.cross_entropy(scores, labels)
        if self.settings.metric_weight and self.settings.metric != "none":
            loss = loss + self.settings.metric_weight * self._metric(vectors, labels)
        return loss

    def _metric(self, vectors: Tensor, labels: Tensor) -> Tensor:
        if self.metric_loss is not None:
            return torch.as_tensor(self.metric_loss(vectors, labels))
        if self.settings.metric == "triplet":
            return triplet_loss(vectors, labels, self.settings.margin)
        return reciprocal_triplet_loss(vectors, labels)
