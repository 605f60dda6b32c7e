"""The projects of a server for several people: all those in a folder."""

from __future__ import annotations

import logging
import re
from contextlib import ExitStack
from pathlib import Path

from forametric._typing import PathLike
from forametric.errors import ForametricError, NotFoundError
from forametric.review.project import FILE, Project
from forametric.server.session import ReviewSession
from forametric.utils.locks import one_writer

NAME = re.compile(r"[\w.-]+")  # what an address can have
logger = logging.getLogger(__name__)


def open_projects(folder: PathLike, locks: ExitStack) -> dict[str, ReviewSession]:
    """Open the projects in a folder, or the folder if it is one, by their names.

    A project that cannot be opened is left out with a warning.

    Parameters
    ----------
    locks : ExitStack
        Keeps other processes from writing the projects until it is closed.

    Raises
    ------
    NotFoundError
        When there are none.
    """
    folder = Path(folder)
    parts = sorted(folder.iterdir()) if folder.is_dir() else []
    found = [one for one in (folder, *parts) if (one / FILE).is_file()]
    sessions: dict[str, ReviewSession] = {}
    for one in found:
        name = one.resolve().name
        try:
            if not NAME.fullmatch(name):
                raise NotFoundError("its name has other characters than letters, digits, . _ -")
            locks.enter_context(one_writer(one))
            project = Project.open(one)
            sessions[name] = ReviewSession.open(project, project.open_store())
        except ForametricError as error:
            logger.warning("the project %s is left out: %s", one, error)
    if not sessions:
        raise NotFoundError(
            f"{folder} has no review project that can be opened; make one with: forametric review "
            f"{folder / 'NAME'} --collection COLLECTION --model MODEL"
        )
    return sessions
