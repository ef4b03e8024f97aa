"""Tiles of overlaps that stay in the cache, and what is done with them in place."""

from __future__ import annotations

import math
import threading

import numpy as np

TILE_ELEMENTS = 2**16
"""Elements of a tile: 256 kB in single precision, so that several fit the L2 cache."""


def tiles(x: np.ndarray, n_elements: int = TILE_ELEMENTS) -> list[slice]:
    """Cut x into groups of whole rows with about as many elements each."""
    if x.size <= n_elements:
        return [slice(0, len(x))]
    step = max(1, n_elements // max(1, x.shape[1]))
    return [slice(i, min(i + step, len(x))) for i in range(0, len(x), step)]


def rescale(x: np.ndarray, scale: np.ndarray | None) -> None:
    """Multiply each memory's column by its scale, in place."""
    if scale is not None:
        x *= scale


_local = threading.local()


def scratch(
    slot: int, like: np.ndarray, shape: tuple[int, ...] | None = None
) -> np.ndarray:
    """Return this thread's scratch array of a slot.

    Fresh arrays of this size come from the system and cost a page fault for each 4 kB,
    more than the arithmetic on them.
    """
    shape = like.shape if shape is None else shape
    size = math.prod(shape)
    held = _local.__dict__.get((slot, like.dtype))
    if held is None or held.size < size:
        held = _local.__dict__[slot, like.dtype] = np.empty(size, like.dtype)
    return held[:size].reshape(shape)


def raise_to(x: np.ndarray, exponent: float, slot: int = 0) -> np.ndarray:
    """Return x to a power >= 0; x itself for 1, otherwise in scratch memory."""
    if exponent == 1:
        return x
    out = scratch(slot, x)
    if exponent == 0:
        out[...] = 1
        return out
    if exponent != int(exponent):
        return np.power(x, exponent, out=out)
    # Square and multiply: ten times faster than np.power for the usual exponents.
    bits = bin(int(exponent))[3:]
    np.square(x, out=out)
    if bits[0] == "1":
        out *= x
    for bit in bits[1:]:
        np.square(out, out=out)
        if bit == "1":
            out *= x
    return out


def peaks(x: np.ndarray, energy, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest overlaps along an axis, and their logarithms.

    Magnitudes, where signs count. Where no overlap is positive, and all F are 0, the
    first is 1, to divide by, and the second -inf.
    """
    peak = x.max(axis=axis)
    if not energy.rectified:
        np.maximum(peak, -x.min(axis=axis), out=peak)
    np.maximum(peak, 0, out=peak)
    with np.errstate(divide="ignore"):
        log_peak = np.log(peak)
    peak[peak == 0] = 1
    return peak, log_peak


def weighted_exponentials(x, log_weight):
    """Return ``exp(x + log_weight)`` with the largest of each column apart."""
    slope = x + log_weight[:, None]
    log_scale = slope.max(axis=0)
    slope -= log_scale
    return np.exp(slope, out=slope), log_scale
