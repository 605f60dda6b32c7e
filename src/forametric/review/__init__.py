"""Review by experts: decisions that are kept for good, and what follows from them."""

from forametric.review.agreement import agreement
from forametric.review.backup import CopyReport, copy_decisions
from forametric.review.decisions import Decision, consensus
from forametric.review.labels import apply_decisions, read_decisions
from forametric.review.project import Project, open_or_create
from forametric.review.queue import ReviewQueue, rank_for_review
from forametric.review.retrain import training_set
from forametric.review.review import Review
from forametric.review.store import DecisionStore

__all__ = [
    "CopyReport",
    "Decision",
    "DecisionStore",
    "Project",
    "Review",
    "ReviewQueue",
    "agreement",
    "apply_decisions",
    "consensus",
    "copy_decisions",
    "open_or_create",
    "rank_for_review",
    "read_decisions",
    "training_set",
]
