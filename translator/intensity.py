"""The form in which networks read flux: the paper's intensity stretch, with its exact inverse, or the flux itself.

All functions take numpy arrays and torch tensors and return the same kind; NaN, a missing pixel, stays NaN.
"""


def stretch(flux):
    """Return the stretched intensity of a flux [nanomaggy/pixel] of any shape: I = sign(I0) (sqrt(|I0| + 1) - 1).

    It is odd in I0, so sky noise stays symmetric; linear (I0 / 2) for faint pixels and a square root for bright ones.
    The formula is written as I0 / (sqrt(|I0| + 1) + 1), the same number without the cancellation near zero.

    Examples
    --------
    >>> stretch(8.0), unstretch(2.0)
    (2.0, 8.0)
    """
    return flux / ((abs(flux) + 1) ** 0.5 + 1)


def unstretch(intensity):
    """Return the flux [nanomaggy/pixel] of a stretched intensity of any shape, exactly: I0 = I (|I| + 2)."""
    return intensity * (abs(intensity) + 2)


def linear(flux):
    """Return the flux [nanomaggy/pixel] unchanged."""
    return flux
