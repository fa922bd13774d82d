"""One-to-one pairs of two catalogues, beside one bounded query of scipy's tree, which is not one-to-one.

With `--large ROWS`, catalogues of that many positions each, in a process of their own, and the memory that they take.
"""

import argparse
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from figures import Figure, main
from scipy.spatial import cKDTree

from survey_tools.matching.positions import match

SIZES = 659_821, 130_093  # of the paper's catalogues
RADIUS = 1.0  # [arcsec]
JITTER = 0.2 / 3600  # [deg] by which both surveys disagree
WIDE = {"W1": (30.2, 38.8, -11.2, -3.7), "W2": (132.1, 136.9, -5.7, -0.9)}  # the CFHTLS fields' ra and dec [deg]
WIDE |= {"W3": (209.0, 220.0, 51.0, 58.0), "W4": (330.0, 336.0, -1.0, 4.8)}
SQUARE_DEGREES = {"W1": 72, "W2": 25, "W3": 49, "W4": 26}
LEGACY = (120, 240, 0, 60)  # most of the SDSS main galaxies


def box(rng: np.random.Generator, count: int, ra_low, ra_high, dec_low, dec_high) -> np.ndarray:
    """Right ascensions and declinations (2, object) [deg], evenly on the sphere."""
    ends = np.sin(np.radians([dec_low, dec_high]))
    return np.stack([rng.uniform(ra_low, ra_high, count), np.degrees(np.arcsin(rng.uniform(*ends, count)))])


def fields(rng: np.random.Generator, count: int) -> np.ndarray:
    """As many objects in each CFHTLS field as its area asks for."""
    shares = rng.multinomial(count, np.array([*SQUARE_DEGREES.values()]) / sum(SQUARE_DEGREES.values()))
    return np.concatenate([box(rng, n, *WIDE[name]) for n, name in zip(shares, WIDE, strict=True)], axis=1)


def as_surveyed(rng: np.random.Generator, x_count: int, y_count: int) -> list[np.ndarray]:
    """SDSS over its footprint, CFHTLS in its four fields: a fifth of y is in x."""
    both = y_count // 5
    shared = fields(rng, both)
    x = np.concatenate([box(rng, x_count - both, *LEGACY), shared], axis=1)
    y = np.concatenate([fields(rng, y_count - both), shared + rng.normal(0, JITTER, (2, both))], axis=1)
    return [x[:, rng.permutation(x_count)], y[:, rng.permutation(y_count)]]


def one_within_the_other(rng: np.random.Generator, x_count: int, y_count: int) -> list[np.ndarray]:
    """Both over one footprint: all of y is in x."""
    x = box(rng, x_count, *LEGACY)
    return [x, x[:, rng.permutation(x_count)[:y_count]] + rng.normal(0, JITTER, (2, y_count))]


def half_in_the_other(rng: np.random.Generator, x_count: int, y_count: int) -> list[np.ndarray]:
    """Both over one footprint: half of y is in x."""
    x, both = box(rng, x_count, *LEGACY), y_count // 2
    y = np.concatenate([x[:, rng.permutation(x_count)[:both]], box(rng, y_count - both, *LEGACY)], axis=1)
    return [x, (y + rng.normal(0, JITTER, (2, y_count)))[:, rng.permutation(y_count)]]


def best_of_each(repeats: int, *functions: Callable) -> list[float]:
    """The least seconds that each function takes, in turn."""
    seconds = np.empty((repeats, len(functions)))
    for row in seconds:
        for number, function in enumerate(functions):
            start = time.perf_counter()
            function()
            row[number] = time.perf_counter() - start
    return seconds.min(axis=0).tolist()


def measure_sky(make: Callable, sizes: tuple[int, int], workers: int, repeats: int) -> Figure:
    """One row of the table; `make` makes the positions."""
    x, y = (SkyCoord(*at, unit=u.deg) for at in make(np.random.default_rng(1), *sizes))
    points = [at.cartesian.xyz.value.T.copy() for at in (x, y)]
    trees, bound = [cKDTree(at) for at in points], np.radians(RADIUS / 3600)
    ours, query, back, build, build_x = best_of_each(
        repeats,
        lambda: match(x, y, RADIUS, workers=workers),
        lambda: trees[1].query(points[0], distance_upper_bound=bound, workers=workers),
        lambda: trees[0].query(points[1], distance_upper_bound=bound, workers=workers),
        lambda: cKDTree(points[1]),
        lambda: cKDTree(points[0]),
    )
    return Figure(
        stage="crossmatch",
        what=f"{sizes[0]:,} × {sizes[1]:,}, {make.__name__.replace('_', ' ')}, {workers} threads: whole `match`",
        rate=ours,
        unit="s",
        against="`cKDTree.query` of x in y's tree alone",
        plain=query,
        ratio=ours / query,
        target="<= 1.5",
        limit=f"with y's tree built {query + build:.3g} s; y in x's tree {back:.3g} s, built {back + build_x:.3g} s",
        bound="unit vectors, cells that have a neighbour, two small trees and two queries",
    )


def measure(quick: bool) -> list[Figure]:
    """One-to-one pairs of catalogues of the paper's sizes, beside one query of scipy's tree."""
    sizes = tuple(size // 10 for size in SIZES) if quick else SIZES
    threads = sorted({1, os.cpu_count() or 1})
    makes = as_surveyed, one_within_the_other
    return [measure_sky(make, sizes, workers, 2 if quick else 7) for make in makes for workers in threads]


def large(rows: int, answers: multiprocessing.Queue) -> None:
    """Match catalogues of `rows` each, half of y in x; answers what it took, and what one query of a tree does."""
    x, y = (SkyCoord(*at, unit=u.deg) for at in half_in_the_other(np.random.default_rng(1), rows, rows))
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    pairs = len(match(x, y, RADIUS)[0])
    seconds, peak = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    points = [at.cartesian.xyz.value.T.copy() for at in (x, y)]
    tree = cKDTree(points[1])
    start = time.perf_counter()
    tree.query(points[0], distance_upper_bound=np.radians(RADIUS / 3600), workers=os.cpu_count() or 1)
    answers.put((pairs, seconds, held, peak, time.perf_counter() - start))


def measure_large(rows: int) -> list[Figure]:
    """One-to-one pairs of two large catalogues, and the memory of the process that finds them."""
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=large, args=(rows, answers))
    process.start()
    pairs, seconds, held, peak, query = answers.get()
    process.join()
    common = {"stage": "crossmatch", "bound": "building trees of the points that have a neighbour, and asking them"}
    what = f"{rows:,} × {rows:,}, half of y in x, all cores: {pairs:,} pairs"
    return [
        Figure(
            what=what, rate=seconds, unit="s", against="`cKDTree.query` of x in y's tree alone", plain=query,
            ratio=seconds / query, **common,
        ),
        Figure(
            what=f"{what}: peak memory, of which {held / 1e6:.2g} GB are imports and catalogues", rate=peak / 1e6,
            unit="GB", target="<= 24 GB", of_rate=True, **common,
        ),
    ]  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--large", type=float, metavar="ROWS")
    own, sys.argv[1:] = parser.parse_known_args()
    main((lambda quick: measure_large(int(own.large))) if own.large else measure)
