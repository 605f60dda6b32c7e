"""Morphotypes: groups of specimens, put together and named."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from forametric.errors import NotFoundError
from forametric.server.schemas import By, Group, Merged, Moved, Named, started
from forametric.server.session import Studio


def router_of(studio: Studio) -> APIRouter:
    """Morphotypes: groups of specimens, put together and named."""
    router = APIRouter(tags=["morphotypes"])

    @router.get("/morphotypes")
    def morphotypes() -> list[dict[str, Any]]:
        """All groups, unnamed ones first, the largest first."""
        return studio.desk.morphotypes()

    @router.post("/morphotypes/find")
    def find(asked: By) -> dict[str, bool]:
        """Group what is unknown; the groups there are now make room."""
        return started(studio.group(asked.reviewer))

    @router.post("/morphotypes/move")
    def move(asked: Moved) -> dict[str, int]:
        """Put specimens into a group, out of all, or into a new one."""
        desk = studio.desk
        for specimen in asked.specimens:
            desk.row(specimen)
        with desk.lock:
            desk.groups.refresh()
            group = desk.groups.next_number() if asked.group is None else asked.group
            if asked.group and not desk.groups.members(asked.group):
                raise NotFoundError(f"there is no group {asked.group}.")
            desk.groups.move(asked.reviewer, "move", dict.fromkeys(asked.specimens, group))
        return {"group": group}

    @router.post("/morphotypes/merge")
    def merge(asked: Merged) -> dict[str, int]:
        """Make one group of several."""
        desk, (first, *others) = studio.desk, asked.groups
        with desk.lock:
            desk.groups.refresh()
            for group in asked.groups:
                if not desk.groups.members(group):
                    raise NotFoundError(f"there is no group {group}.")
            to = {i: first for group in others for i in desk.groups.members(group)}
            desk.groups.move(asked.reviewer, "merge", to)
        return {"group": first}

    @router.post("/morphotypes/{group}/split")
    def split(group: Group, asked: By) -> dict[str, int]:
        """Part a group in two, where it parts most easily."""
        return {"group": studio.desk.split_group(asked.reviewer, group)}

    @router.post("/morphotypes/{group}/name")
    def name(group: Group, asked: Named) -> dict[str, Any]:
        """Call all specimens of a group by a name, known or new; they are references at once."""
        count = studio.desk.name_group(asked.reviewer, group, asked.name)
        studio.after_decision()
        return {"decided": count, "progress": studio.desk.progress()}

    @router.post("/morphotypes/undo")
    def undo(asked: By) -> dict[str, Any]:
        """Take back the reviewer's last step with groups, and the decisions it made."""
        step = studio.desk.undo_step(asked.reviewer)
        studio.after_decision()
        return {"undone": step["kind"] if step else None, "progress": studio.desk.progress()}

    return router
