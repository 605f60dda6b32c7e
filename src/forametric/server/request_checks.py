"""What is checked of every request before anybody logs in: its host, its origin, its size."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from forametric.errors import InputError
from forametric.server.responses import problem

LOOPBACK = ("127.0.0.1", "localhost", "::1")  # the names of this machine
LOOPBACK_HOSTS = tuple(f"[{name}]" if ":" in name else name for name in LOOPBACK)  # as in `Host:`
MAX_BYTES = 32 * 1024 * 1024  # of a body


@dataclass(frozen=True)
class PublicAddress:
    """The address under which a proxy serves the page, such as https://review.example.org.

    Attributes
    ----------
    scheme : str
        http or https.
    host : str
        The name, with the port where it is not the scheme's own: the content of `Host:`.
    """

    scheme: str
    host: str

    @classmethod
    def parse(cls, address: str) -> PublicAddress | None:
        """Read an address; None for "".

        Raises
        ------
        InputError
            When it is not the address of a site.
        """
        if not address:
            return None
        try:
            parts = urlsplit(address)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        is_site = parts.path in ("", "/") and not parts.query and not parts.fragment
        if parts.scheme not in ("http", "https") or not parts.hostname or not is_site:
            raise InputError(
                f"{address} is not the address of a site; --proxy needs one such as "
                f"https://review.example.org, without a path."
            )
        name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        own = {"http": 80, "https": 443}[parts.scheme]
        return cls(parts.scheme, name if port in (None, own) else f"{name}:{port}")

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}"


class RequestChecks:
    """Middleware that refuses wrong hosts, other origins, and bodies that are too large.

    Parameters
    ----------
    loopback : bool
        Answer only to the names of this machine, and of the proxy, so that a foreign page whose own
        name points to this machine (DNS rebinding) is refused.
    proxy : PublicAddress, optional
        Where a proxy serves the page. Requests for it have its scheme, so that cookies are secure.
    """

    def __init__(self, app: ASGIApp, loopback: bool, proxy: PublicAddress | None = None) -> None:
        self.app, self.loopback, self.proxy = app, loopback, proxy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Request(scope).headers
        host = headers.get("host", "").lower()
        if self.proxy:
            scope["scheme"] = self.proxy.scheme if host == self.proxy.host else "http"
        refusal = self._host_refusal(host) or self._refusal(Request(scope), host)
        await (refusal or self.app)(scope, receive, send)

    def _host_refusal(self, host: str) -> ASGIApp | None:
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        if self.proxy and host == self.proxy.host:
            return None
        if name in LOOPBACK_HOSTS or not (self.loopback or self.proxy):
            return None
        known = [*LOOPBACK_HOSTS, *([self.proxy.host] if self.proxy else [])]
        hint = "; a proxy has to pass the header Host on" if self.proxy else ""
        return problem(403, f"this server answers only to {', '.join(known)}{hint}.")

    def _refusal(self, request: Request, host: str) -> ASGIApp | None:
        headers = request.headers
        origin = headers.get("origin")
        foreign = headers.get("sec-fetch-site", "") in ("cross-site", "same-site")
        navigates = request.method == "GET" and headers.get("sec-fetch-mode") == "navigate"
        own = f"{request.scope['scheme']}://{host}"
        if (origin and origin.lower() != own) or (foreign and not navigates):
            hint = "" if self.proxy else " Behind an HTTPS proxy, start the server with --proxy."
            return problem(403, f"requests from pages of other origins are refused.{hint}")
        if "transfer-encoding" in headers:
            return problem(411, "give the length of the body in Content-Length.")
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()) or int(length) > MAX_BYTES:
            return problem(413, f"the body is larger than {MAX_BYTES >> 20} MiB.")
        return None
