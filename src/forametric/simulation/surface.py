"""Compute the visible surface of ellipsoids: depth, normal and kind of body at each pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forametric._typing import BoolArray, FloatArray
from forametric.simulation.growth import Body


@dataclass(frozen=True)
class Surface:
    """The surface seen along z; the arrays of shape (…, n) have only the shell's pixels.

    Attributes
    ----------
    mask : ndarray of bool, shape (size, size)
    depth : ndarray of float32, shape (size, size)
        Height towards the camera in pixels; outside the shell, the least height of the shell.
    where : ndarray of int, shape (n,)
        The shell's pixels, as positions in the flattened image.
    point, normal : ndarray of float32, shape (3, n)
    kind : ndarray of int8, shape (n,)
    """

    mask: BoolArray
    depth: FloatArray
    where: npt.NDArray[np.intp]
    point: FloatArray
    normal: FloatArray
    kind: npt.NDArray[np.int8]


def visible(bodies: list[Body], size: int) -> Surface:
    """The surface of the bodies seen along z."""
    depth = np.full((size, size), -np.inf, np.float32)
    owner = np.full((size, size), -1, np.int16)
    flat = np.zeros((size, size), bool)
    shapes = np.empty((len(bodies), 3, 3), np.float32)
    for number, body in enumerate(bodies):
        # |inverse @ (x, y, z)|² = 1 has two intersections with the line of sight, near and far.
        inverse = np.linalg.inv(body.axes)
        shape = inverse.T @ inverse
        shapes[number] = shape
        half = np.sqrt((body.axes[:2] ** 2).sum(1))
        x0, y0 = (max(0, int(np.floor(c - h))) for c, h in zip(body.center, half, strict=False))
        x1, y1 = (
            min(size, int(np.ceil(c + h)) + 1) for c, h in zip(body.center, half, strict=False)
        )
        if x1 <= x0 or y1 <= y0:
            continue
        x = (np.arange(x0, x1) - body.center[0]).astype(np.float32)[None, :]
        y = (np.arange(y0, y1) - body.center[1]).astype(np.float32)[:, None]
        z, is_flat = _intersection(shape.astype(np.float32), x, y, body)
        z += np.float32(body.center[2])
        window = (slice(y0, y1), slice(x0, x1))
        visible_here = z > depth[window]
        np.copyto(depth[window], z, where=visible_here)
        np.copyto(owner[window], np.int16(number), where=visible_here)
        if is_flat is None:
            flat[window] &= ~visible_here
        else:
            np.copyto(flat[window], is_flat, where=visible_here)
    return _gathered(bodies, shapes, depth, owner, flat)


def _intersection(
    shape: FloatArray, x: FloatArray, y: FloatArray, body: Body
) -> tuple[FloatArray, BoolArray | None]:
    """The near intersection relative to the body's center, and whether it is on the cutting plane.

    -inf where there is no intersection.
    """
    a = shape[2, 2]
    b = shape[0, 2] * x + shape[1, 2] * y
    c = (shape[0, 0] * x * x - 1) + (2 * shape[0, 1] * x + shape[1, 1] * y) * y
    root = b * b - a * c
    outside = root <= 0
    np.sqrt(root, out=root, where=~outside)
    near = (root - b) / a
    flat = None
    if body.cut is not None:
        cut = body.cut.astype(np.float32)
        plane = -(cut[0] * x + cut[1] * y) / cut[2]
        if cut[2] > 0:
            flat = plane < near
            near = np.minimum(near, plane)
            outside |= near <= (-root - b) / a
        else:
            outside |= near <= plane
    near[outside] = -np.inf
    return near, flat


def _gathered(
    bodies: list[Body],
    shapes: FloatArray,
    depth: FloatArray,
    owner: npt.NDArray[np.int16],
    flat: BoolArray,
) -> Surface:
    mask = owner >= 0
    where = np.flatnonzero(mask)
    number = owner.ravel()[where]
    rows, columns = np.divmod(where, len(depth))
    point = np.empty((3, len(where)), np.float32)
    point[0], point[1], point[2] = columns, rows, depth.ravel()[where]
    x, y, z = point - np.array([b.center for b in bodies], np.float32).T[:, number]
    # One row of coefficients at a time, which is faster.
    normal = np.stack([s[0][number] * x + s[1][number] * y + s[2][number] * z for s in shapes.T])
    on_plane = flat.ravel()[where]
    if on_plane.any():
        cuts = np.array([np.zeros(3) if b.cut is None else b.cut for b in bodies], np.float32)
        normal[:, on_plane] = cuts[number[on_plane]].T
    normal /= length(normal)
    kinds = np.array([b.kind for b in bodies], np.int8)
    floor = point[2].min() if len(where) else 0.0
    return Surface(mask, np.where(mask, depth, floor), where, point, normal, kinds[number])


def length(vectors: FloatArray) -> FloatArray:
    """The length of each of n vectors, shape (3, n)."""
    x, y, z = vectors
    return np.asarray(np.sqrt(x * x + y * y + z * z), np.float32)
