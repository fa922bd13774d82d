"""Counts, nanomaggies and AB magnitudes. One nanomaggy is 3.631 µJy, AB magnitude 22.5."""

import numpy as np

NANOMAGGY_ZERO_POINT = 22.5  # AB magnitude of one nanomaggy, by its definition


def nanomaggies_per_count(zero_point: float) -> float:
    """Nanomaggies in one image unit of AB magnitude `zero_point`.

    For CFHTLS stacks (30.0) it is 10^-3: the "divide by 1000" of Lin, Fouchez & Pasquet (2021), section IV-A.
    """
    return 10 ** (0.4 * (NANOMAGGY_ZERO_POINT - zero_point))


# AB magnitude of one unit; 8.90 is that of a jansky (Oke & Gunn 1983).
ZERO_POINTS = {"nanomaggy": NANOMAGGY_ZERO_POINT, "maggy": 0.0, "Jy": 8.9, "mJy": 16.4, "uJy": 23.9, "nJy": 31.4}


def counts_to_nanomaggies(counts, zero_point: float):
    """Flux in nanomaggies of `counts`, any shape; NaN stays NaN."""
    return counts * nanomaggies_per_count(zero_point)


def nanomaggies_to_counts(flux, zero_point: float):
    """Counts of a `flux` in nanomaggies, any shape; the inverse of `counts_to_nanomaggies`."""
    return flux / nanomaggies_per_count(zero_point)


def nanomaggies_to_magnitude(flux) -> np.ndarray:
    """AB magnitude 22.5 - 2.5 log10(flux), any shape; NaN where the flux is not positive."""
    flux = np.asarray(flux, dtype=float)
    positive = np.where(flux > 0, flux, np.nan)
    return NANOMAGGY_ZERO_POINT - 2.5 * np.log10(positive)


def magnitude_to_nanomaggies(magnitude) -> np.ndarray:
    """Flux in nanomaggies of an AB `magnitude`, any shape."""
    return 10 ** (0.4 * (NANOMAGGY_ZERO_POINT - np.asarray(magnitude, dtype=float)))
