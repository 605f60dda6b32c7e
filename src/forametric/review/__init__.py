"""The expert's side: decisions about specimens, kept for good, and what follows from them."""

from forametric.review.agreement import agreement
from forametric.review.decisions import Decision, consensus
from forametric.review.labels import decisions_in, labelled
from forametric.review.queue import queue_of_collection
from forametric.review.retrain import training_set
from forametric.review.store import Decisions

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
