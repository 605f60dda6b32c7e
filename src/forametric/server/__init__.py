"""The review page, and the same functions over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from forametric.review.review import Review


def serve(
    review: Review, *, host: str = "127.0.0.1", port: int = 8765, token: str = "",
    browser: bool = True, proxy: str = "",
) -> None:  # fmt: skip
    """Open the review page of a project in the browser; Ctrl-C ends the server.

    Parameters
    ----------
    port : int
        0 for any free port.
    token : str
        What scripts send, and what opens the page without the link; "" for none.
    proxy : str
        The address under which a proxy on this machine serves the page, such as
        https://review.example.org; "" for none.

    Examples
    --------
    >>> serve(Review.open("core-review"))  # doctest: +SKIP
    """
    from forametric.server.request_checks import PublicAddress
    from forametric.server.run import checked_token, serve
    from forametric.server.session import ReviewSession
    from forametric.utils.locks import one_writer

    public = PublicAddress.parse(proxy)
    token = checked_token(host, token, public)
    with one_writer(review.project.folder):
        session = ReviewSession.open(review.project, review.store)
        serve(
            session,
            host=host,
            port=port,
            token=token,
            browser=browser,
            report=print,
            proxy=public,
        )
