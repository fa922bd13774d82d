"""Measure many galaxies a few at a time, so that what is made on the way fits into memory, and each only once."""

import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import wraps
from hashlib import blake2b
from typing import TypeVar

import numpy as np

from translator.metrics.measure import Statistics
from translator.metrics.sample import Sample

Found = TypeVar("Found")

PIECE = 32  # galaxies


def pieces(sample: Sample) -> Iterator[Sample]:
    """`PIECE` galaxies of the sample after another, without `again`, draws, source and what is seen of it."""
    lean = replace(sample, again=None, draws=None, source=None, seen=None)
    for start in range(0, len(sample), PIECE):
        yield lean.take(np.arange(start, min(start + PIECE, len(sample))))


def spread_evenly(total: int, count: int) -> np.ndarray:
    """Indices (count,) of galaxies from the first to the last."""
    return np.linspace(0, total - 1, count).round().astype(int)


def in_pieces(each: Callable[[Sample], Statistics]) -> Callable[[Sample], Statistics]:
    """The same statistics of every galaxy, measured a piece at a time."""

    @wraps(each)
    def of_all(sample: Sample) -> Statistics:
        some = [each(piece) for piece in pieces(sample)]
        return {name: np.concatenate([piece[name] for piece in some]) for name in some[0]}

    return of_all


def remembered(measured: Callable[[Sample], Found]) -> Callable[[Sample], Found]:
    """The same, kept for as long as the sample is: several measures and curves ask for it. Nobody may write into it."""
    kept: dict[int, Found] = {}

    @wraps(measured)
    def of_sample(sample: Sample) -> Found:
        key = id(sample)
        if key not in kept:
            kept[key] = measured(sample)
            weakref.finalize(sample, kept.pop, key, None)
        return kept[key]

    return of_sample


def kept(most: int) -> Callable[[Callable[..., Found]], Callable[..., Found]]:
    """For what is measured of pixels alone, as of targets against which many are held: once for equal pixels.

    The results of the `most` last ones are kept. Nobody may write into them.
    """

    def decorate(measured: Callable[..., Found]) -> Callable[..., Found]:
        found: dict[bytes, Found] = {}

        @wraps(measured)
        def of_pixels(pixels: np.ndarray, *how: object) -> Found:
            digest = blake2b(repr((pixels.dtype, pixels.shape, how)).encode())
            digest.update(np.ascontiguousarray(pixels))
            key = digest.digest()
            found[key] = found.pop(key) if key in found else measured(pixels, *how)
            while len(found) > most:
                del found[next(iter(found))]
            return found[key]

        return of_pixels

    return decorate
