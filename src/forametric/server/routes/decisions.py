"""The queue, the decisions, and how far reviewers agree."""

from __future__ import annotations

from typing import Annotated, Any

import pandas as pd
from fastapi import APIRouter, Query

from forametric.review.agreement import agreement
from forametric.review.decisions import TAXON, consensus, standing
from forametric.review.workspace import Word
from forametric.server.schemas import By, Decided, Id
from forametric.server.session import Studio


def router_of(studio: Studio) -> APIRouter:
    """The queue and the decisions."""
    router = APIRouter(tags=["decide"])

    @router.post("/queue")
    def queue(
        asked: By,
        count: Annotated[int, Query(ge=1, le=100)] = 20,
        held: Annotated[list[Id] | None, Query(max_length=200)] = None,
    ) -> dict[str, Any]:
        """The specimens that a reviewer should see next; they are lent to the reviewer."""
        desk = studio.desk
        desk.refresh()
        labels, found = desk.shells.specimens["label"], []
        for specimen in desk.next_for(asked.reviewer, count, held or []):
            row = desk.row_of[specimen]
            said, label = desk.naming.table.iloc[row], labels.iloc[row]
            found.append(
                {
                    "id": specimen,
                    "image": str(desk.shells.specimens["image"].iloc[row]),
                    "label": "" if pd.isna(label) else str(label),
                    "sample": str(desk.samples[row]),
                    "decision": str(said["decision"]),
                    "suggested": str(said["best"]),
                    "probability": round(float(said["best_probability"]), 4),
                    "doubt": round(float(said["doubt"]), 4),
                    "evidence": desk.evidence(row),
                    "candidates": desk.candidates(row),
                }
            )
        return {"specimens": found, "left": desk.left_for(asked.reviewer)}

    @router.post("/decisions")
    def decide(asked: Decided) -> dict[str, Any]:
        """Keep verdicts; once this answers, they are on the disk."""
        for said in asked.decisions:
            studio.desk.row(said.specimen)
        words = [Word(**said.model_dump()) for said in asked.decisions]
        numbers = studio.desk.decide(asked.reviewer, words)
        studio.after_decision()
        return {"numbers": numbers, "progress": studio.desk.progress()}

    @router.post("/undo")
    def undo(asked: By) -> dict[str, Any]:
        """Take back what the reviewer decided last; what was decided together, together."""
        taken = studio.desk.undo(asked.reviewer)
        studio.after_decision()
        return {
            "specimen": taken[0].specimen if taken else None,
            "name": taken[0].name if taken else None,
            "count": len(taken),
            "progress": studio.desk.progress(),
        }

    @router.get("/agreement")
    def agreed() -> dict[str, Any]:
        """How far reviewers agree, and the specimens on which they differ."""
        history = studio.store.history()
        together = consensus(history)
        conflicts = together[together["conflict"]]
        words = standing(history)
        words = words[words["specimen"].isin(conflicts["specimen"])]
        return {
            "decisions": len(history),
            "reviewers": sorted(history["reviewer"].unique().tolist()),
            **agreement(history),
            "conflicts": [
                {"specimen": specimen, "said": _said(part)}
                for specimen, part in words.groupby("specimen", sort=False)
                if specimen in studio.desk.row_of
            ],
        }

    return router


def _said(rows: Any) -> list[dict[str, str]]:
    """Who said what, in words."""
    return [
        {"reviewer": row["reviewer"], "verdict": row["verdict"], "time": row["time"],
         "taxon": row["taxon"] if row["verdict"] == TAXON else ""}
        for row in rows.to_dict("records")
    ]  # fmt: skip
