"""The review page, and the same functions over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from forametric.review.review import Review


def serve(
    review: Review, *, host: str = "127.0.0.1", port: int = 8765, token: str = "",
    browser: bool = True,
) -> None:  # fmt: skip
    """Open the review page of a project in the browser; Ctrl-C ends the server.

    Examples
    --------
    >>> serve(Review.open("core-review"))  # doctest: +SKIP
    """
    from forametric.server.run import checked_token, serve
    from forametric.server.session import ReviewSession
    from forametric.utils.locks import one_writer

    token = checked_token(host, token)
    with one_writer(review.project.folder):
        session = ReviewSession.open(review.project, review.store)
        serve(session, host=host, port=port, token=token, browser=browser, report=print)
