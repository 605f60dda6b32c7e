"""The expert's side: decisions about specimens, kept for good, and what follows from them."""

from forametric.review.decisions import (
    Decision,
    Decisions,
    agreement,
    consensus,
    decisions_in,
    labelled,
)
from forametric.review.queue import queue_of_collection
from forametric.review.retrain import training_set

__all__ = [
    "Decision",
    "Decisions",
    "agreement",
    "consensus",
    "decisions_in",
    "labelled",
    "queue_of_collection",
    "training_set",
]
