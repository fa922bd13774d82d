"""Convert between counts, nanomaggies and AB magnitudes. One nanomaggy is 3.631 µJy, AB magnitude 22.5."""

import numpy as np

NANOMAGGY_ZERO_POINT = 22.5  # AB magnitude of one nanomaggy, by its definition


def nanomaggies_per_count(zero_point: float) -> float:
    """Return the nanomaggies of one image unit.

    For CFHTLS stacks (30.0) the result is 10^-3: the "divide by 1000" of Lin, Fouchez & Pasquet (2021), section IV-A.

    Parameters
    ----------
    zero_point : float
        AB magnitude of one image unit.

    Returns
    -------
    float
        [nanomaggy].

    Examples
    --------
    >>> nanomaggies_per_count(22.5), round(nanomaggies_per_count(30.0), 9)
    (1.0, 0.001)
    """
    return 10 ** (0.4 * (NANOMAGGY_ZERO_POINT - zero_point))


# AB magnitude of one unit; that of a jansky is 8.90 (Oke & Gunn 1983).
ZERO_POINTS = {"nanomaggy": NANOMAGGY_ZERO_POINT, "maggy": 0.0, "Jy": 8.9, "mJy": 16.4, "uJy": 23.9, "nJy": 31.4}


def counts_to_nanomaggies(counts, zero_point: float):
    """Convert counts to flux.

    Parameters
    ----------
    counts : array_like
        Counts, any shape.
    zero_point : float
        AB magnitude of one count.

    Returns
    -------
    array_like
        Flux [nanomaggy], same shape; NaN stays NaN.
    """
    return counts * nanomaggies_per_count(zero_point)


def nanomaggies_to_counts(flux, zero_point: float):
    """Convert flux to counts; the inverse of `counts_to_nanomaggies`.

    Parameters
    ----------
    flux : array_like
        Flux [nanomaggy], any shape.
    zero_point : float
        AB magnitude of one count.

    Returns
    -------
    array_like
        Counts, same shape.
    """
    return flux / nanomaggies_per_count(zero_point)


def nanomaggies_to_magnitude(flux) -> np.ndarray:
    """Convert flux to AB magnitude, 22.5 - 2.5 log10(flux).

    Parameters
    ----------
    flux : array_like
        Flux [nanomaggy], any shape.

    Returns
    -------
    ndarray
        AB magnitude, same shape; NaN where the flux is not positive.

    Examples
    --------
    >>> nanomaggies_to_magnitude([1.0, 100.0, -1.0]).tolist()
    [22.5, 17.5, nan]
    """
    flux = np.asarray(flux, dtype=float)
    positive = np.where(flux > 0, flux, np.nan)
    return NANOMAGGY_ZERO_POINT - 2.5 * np.log10(positive)


def magnitude_to_nanomaggies(magnitude) -> np.ndarray:
    """Convert AB magnitude to flux.

    Parameters
    ----------
    magnitude : array_like
        AB magnitude, any shape.

    Returns
    -------
    ndarray
        Flux [nanomaggy], same shape.
    """
    return 10 ** (0.4 * (NANOMAGGY_ZERO_POINT - np.asarray(magnitude, dtype=float)))
