"""Groups of specimens that experts put together: every step kept, every step undoable.

A group is a number; 0 is none. A step says which specimens went from which group to which. Undoing
one moves back those that are still where it had put them, so that two reviewers do not undo each
other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from forametric.review.store import Decisions


class Groups:
    """The groups in a store of decisions, as all its reviewers have left them.

    Attributes
    ----------
    of : dict of str to int
        The group of each specimen that is in one.
    names : dict of int to str
        What the named groups are called.
    """

    def __init__(self, store: Decisions) -> None:
        self._store = store
        self._seen = 0
        self._steps: dict[int, tuple[str, dict[str, Any]]] = {}  # those not undone
        self.of: dict[str, int] = {}
        self.names: dict[int, str] = {}
        self._highest = 0
        self.refresh()

    def refresh(self) -> None:
        """Take in what was done since, here or elsewhere."""
        for number, reviewer, step in self._store.steps(self._seen):
            self._seen = number
            undone = self._steps.pop(step["undoes"], None) if "undoes" in step else None
            if undone is not None:
                self._apply({i: (b, a) for i, (a, b) in undone[1]["moves"].items()})
                self._name_again(undone[1].get("group", -1))
            elif "undoes" not in step:
                self._steps[number] = (reviewer, step)
                self._apply(step["moves"])
                if step["kind"] == "name":
                    self.names[step["group"]] = step["name"]

    def _apply(self, moves: Mapping[str, Sequence[int]]) -> None:
        for specimen, (before, after) in moves.items():
            self._highest = max(self._highest, before, after)
            if self.of.get(specimen, 0) == before:
                self.of[specimen] = after
                if not after:
                    del self.of[specimen]

    def _name_again(self, group: int) -> None:
        """A group is called what the last naming that stands says."""
        self.names.pop(group, None)
        for _, step in self._steps.values():
            if step["kind"] == "name" and step["group"] == group:
                self.names[group] = step["name"]

    def next_number(self) -> int:
        """A number that no group has had."""
        return self._highest + 1

    def members(self, group: int) -> list[str]:
        """The specimens of a group."""
        return [specimen for specimen, number in self.of.items() if number == group]

    def move(self, reviewer: str, kind: str, to: Mapping[str, int], **more: Any) -> int:
        """Take a step that puts specimens into groups; returns its number."""
        moves = {i: [self.of.get(i, 0), after] for i, after in to.items()}
        number = self._store.add_step(reviewer, {"kind": kind, "moves": moves, **more})
        self.refresh()
        return number

    def last(self, reviewer: str) -> tuple[int, dict[str, Any]] | None:
        """A reviewer's last step that was not undone, and its number; None when there is none."""
        self.refresh()
        mine = [n for n, (who, _) in self._steps.items() if who == reviewer]
        return (max(mine), self._steps[max(mine)][1]) if mine else None

    def undo(self, reviewer: str) -> dict[str, Any] | None:
        """Take back a reviewer's last step; None when there is none."""
        found = self.last(reviewer)
        if found is None:
            return None
        self._store.add_step(reviewer, {"kind": "undo", "undoes": found[0]})
        self.refresh()
        return found[1]
