"""Responses that are not JSON (images, packed numbers, pages), and the errors of every route."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from fastapi import Response
from fastapi.responses import JSONResponse

from forametric._typing import AnyArray
from forametric.server.schemas import InvalidRequest, Problem

Responses = dict[int | str, dict[str, Any]]  # as FastAPI takes the description of responses
BUSY_SECONDS = 5  # until a request that was refused for now is worth repeating

PROBLEMS: Responses = {
    400: {"model": Problem, "description": "cannot be done; the sentence says why"},
    401: {"model": Problem, "description": "not logged in"},
    403: {"model": Problem, "description": "the role does not permit it; another origin or host"},
    404: {"model": Problem, "description": "does not exist"},
    411: {"model": Problem, "description": "a body of unknown length"},
    413: {"model": Problem, "description": "too large"},
    422: {"model": InvalidRequest, "description": "a field is missing or not valid"},
    500: {"model": Problem, "description": "an unexpected error; the log has its id"},
    503: {"model": Problem, "description": "busy; Retry-After says when to ask again"},
}
CONFLICT: Responses = {
    409: {"model": Problem, "description": "another model identifies the specimens now"}
}
JPEG: Responses = {200: {"description": "a JPEG image", "content": {"image/jpeg": {}}}}
PAGE: Responses = {200: {"description": "an HTML page", "content": {"text/html": {}}}}


class Refusal(JSONResponse):
    """An answer in JSON that may repeat what a client sent, whatever characters it has."""

    def render(self, content: Any) -> bytes:
        """In ASCII: half of a surrogate pair has no other encoding."""
        return json.dumps(content, allow_nan=False).encode()


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Refusal:
    """The answer to a request that is refused; one sentence says why."""
    return Refusal({"detail": detail}, status, headers)


def busy(detail: str) -> Refusal:
    """The answer to a request that can be repeated after some seconds."""
    return problem(503, detail, {"Retry-After": str(BUSY_SECONDS)})


def binary(description: str) -> Responses:
    """The description of a response of bytes."""
    content: dict[str, Any] = {"application/octet-stream": {}}
    return {200: {"description": description, "content": content}}


def cached_jpeg(data: bytes) -> Response:
    """An image that the browser may keep: an id never stands for another image."""
    headers = {"Cache-Control": "private, max-age=86400"}
    return Response(data, media_type="image/jpeg", headers=headers)


def pack_binary(description: Mapping[str, object], values: AnyArray, kind: str) -> Response:
    """Numbers after a JSON text: the text's length (uint32), the text, blanks, the numbers.

    The blanks fill the text up to a multiple of four bytes. Everything is little-endian.
    """
    text = json.dumps(description, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 4)
    data = struct.pack("<I", len(text)) + text + np.ascontiguousarray(values).astype(kind).tobytes()
    return Response(data, media_type="application/octet-stream")
