"""Groups of specimens that reviewers make: every step is recorded and can be undone.

A group is a number; 0 stands for no group. A step records which specimens moved from which group
to which. Undoing a step moves back those that are still where it moved them, so that two reviewers
do not undo each other's steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from forametric.review.store import DecisionStore


class Groups:
    """The groups in a store of decisions, as its reviewers have left them.

    Attributes
    ----------
    group_of : dict of str to int
        The group of each specimen that is in one.
    names : dict of int to str
        The names of the named groups.
    """

    def __init__(self, store: DecisionStore) -> None:
        self._store = store
        self._last_read = 0
        self._steps: dict[int, tuple[str, dict[str, Any]]] = {}  # those not undone
        self.group_of: dict[str, int] = {}
        self.names: dict[int, str] = {}
        self._highest = 0
        self.refresh()

    def refresh(self) -> None:
        """Read the steps added since the last time, by this program or another."""
        for number, reviewer, step in self._store.steps(self._last_read):
            self._last_read = number
            undone = self._steps.pop(step["undoes"], None) if "undoes" in step else None
            if undone is not None:
                moves = undone[1]["moves"].items()
                self._apply({specimen: (to, origin) for specimen, (origin, to) in moves})
                self._restore_name(undone[1].get("group", -1))
            elif "undoes" not in step:
                self._steps[number] = (reviewer, step)
                self._apply(step["moves"])
                if step["kind"] == "name":
                    self.names[step["group"]] = step["name"]

    def _apply(self, moves: Mapping[str, Sequence[int]]) -> None:
        for specimen, (origin, to) in moves.items():
            self._highest = max(self._highest, origin, to)
            if self.group_of.get(specimen, 0) == origin:
                self.group_of[specimen] = to
                if not to:
                    del self.group_of[specimen]

    def _restore_name(self, group: int) -> None:
        """Give a group the name of the last naming that was not undone."""
        self.names.pop(group, None)
        for _, step in self._steps.values():
            if step["kind"] == "name" and step["group"] == group:
                self.names[group] = step["name"]

    def next_number(self) -> int:
        """A number that no group has had."""
        return self._highest + 1

    def members(self, group: int) -> list[str]:
        """The specimens of a group."""
        return [specimen for specimen, number in self.group_of.items() if number == group]

    def move(self, reviewer: str, kind: str, to: Mapping[str, int], **more: Any) -> int:
        """Record a step that moves specimens into groups; returns its number."""
        moves = {i: [self.group_of.get(i, 0), group] for i, group in to.items()}
        number = self._store.add_step(reviewer, {"kind": kind, "moves": moves, **more})
        self.refresh()
        return number

    def last_step(self, reviewer: str) -> tuple[int, dict[str, Any]] | None:
        """The number and content of a reviewer's last step that was not undone; None for none."""
        self.refresh()
        own = [number for number, (who, _) in self._steps.items() if who == reviewer]
        return (max(own), self._steps[max(own)][1]) if own else None

    def undo(self, reviewer: str) -> dict[str, Any] | None:
        """Undo a reviewer's last step; None when there is none."""
        last = self.last_step(reviewer)
        if last is None:
            return None
        self._store.add_step(reviewer, {"kind": "undo", "undoes": last[0]})
        self.refresh()
        return last[1]
