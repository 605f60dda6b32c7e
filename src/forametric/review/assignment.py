"""Which reviewer gets which specimens: shown specimens are reserved for a short time."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from forametric._typing import NameArray
from forametric.review.workspace import ReviewWorkspace

RESERVATION_SECONDS = 120.0  # for which a specimen that a reviewer has on screen is not given out


class Assignment:
    """The reservations of the specimens of a workspace."""

    def __init__(self, workspace: ReviewWorkspace) -> None:
        self.workspace = workspace
        self._reserved_for: NameArray = np.full(len(workspace), "", dtype=object)
        self._reserved_at = np.full(len(workspace), -np.inf)

    def next_batch(self, reviewer: str, count: int, exclude: Sequence[str] = ()) -> list[str]:
        """The specimens that a reviewer should see next, in the order of the queue.

        Left out are settled specimens, those that the reviewer has decided on or skipped, those
        to `exclude` (on the page already), and those reserved for another reviewer, unless nothing
        else is left. All that are given out or excluded are reserved for the reviewer.
        """
        workspace = self.workspace
        with workspace.lock:
            now = time.monotonic()
            available = workspace.unanswered(reviewer)
            on_page = [workspace.row_of[i] for i in exclude if i in workspace.row_of]
            available[on_page] = False
            self._reserve(on_page, reviewer, now)
            reserved = (now - self._reserved_at < RESERVATION_SECONDS) & (
                self._reserved_for != reviewer
            )
            order = workspace.identification.order
            rows = order[(available & ~reserved)[order]][:count]
            if not len(rows):
                rows = order[available[order]][:count]
            self._reserve(rows.tolist(), reviewer, now)
            return [str(i) for i in workspace.ids[rows]]

    def _reserve(self, rows: list[int], reviewer: str, now: float) -> None:
        self._reserved_for[rows], self._reserved_at[rows] = reviewer, now

    def n_remaining(self, reviewer: str) -> int:
        """The number of specimens that are not settled and new to a reviewer."""
        return int(self.workspace.unanswered(reviewer).sum())
