"""Pixels that are exactly 0: whether they are data, or mark missing data.

Zero is data, with two exceptions. If a survey's row says that its files mark missing data by 0, every 0 of a file of
floats is such a mark, because noise is never exactly 0; but not in a file whose pixels are whole numbers or were
rounded when it was compressed. And a solid block of zeros that reaches the edge of an image, beside sky that has noise,
is padding, in the files of any survey.
"""

import numpy as np
from astropy.io import fits
from scipy.ndimage import binary_dilation, binary_erosion, binary_propagation, label

MANY = 0.001  # fraction of an image's pixels, above which the manifest mentions its zeros
SIDE = 5  # [pixel] side of the squares that make up a solid block: zeros of rounded noise never fill one
RIM = 3  # [pixel] width of the sky around a block
SQUARE = np.ones((SIDE, SIDE), bool)
STEPS = 1000  # rounded values are recognised within so many steps
ENOUGH = 200  # values that this needs
DITHERED = ("SUBTRACTIVE_DITHER_1", "SUBTRACTIVE_DITHER_2")
DATA, MISSING, AUTO = "data", "missing", "auto"


def rounding_of(header: fits.Header) -> str:
    """Return why exact zeros of a file may be data, in words, by its header; "" if its pixels are floats."""
    packed = header.get("ZIMAGE", False) is True
    if int(header.get("ZBITPIX" if packed else "BITPIX", -32)) > 0:
        return "the file has whole numbers"
    quantised = "ZSCALE" in header or any(str(value).strip() == "ZSCALE" for value in header["TTYPE*"].values())
    if packed and quantised and str(header.get("ZQUANTIZ", "NO_DITHER")).strip() not in DITHERED:
        return "the file was compressed without dither"
    return ""


def judge_zeros(image: np.ndarray, *, marked: bool, rounding: str = "", how: str = AUTO) -> tuple[np.ndarray, str]:
    """Return which pixels of an image have no data because they are exactly 0, and a remark on its zeros.

    Parameters
    ----------
    image : (row, col) float
        The image, any unit; NaN for no data.
    marked : bool
        Whether the survey's files mark missing data by 0.
    rounding : str
        Why exact zeros may be data all the same, from `rounding_of`.
    how : str
        "auto", or the user's word on zeros: "data" or "missing".

    Returns
    -------
    empty : (row, col) bool
        True for no data.
    remark : str
        Words for the user; "" if there is nothing to say.
    """
    zero = image == 0
    share, nothing = float(zero.mean()), np.zeros(image.shape, bool)
    if not share or how == DATA:
        return nothing, _said(share, "data", "as --zeros says") if share else ""
    if how == MISSING:
        return zero, _said(share, "no data", "as --zeros says")
    rounding = rounding or rounded(image)
    if marked and not rounding:
        return zero, _said(share, "no data", "by which the survey's files mark it")
    blocks = padding(image, zero, rounded_values=bool(rounding))
    said = [_said(float(blocks.mean()), "no data", "a block at the edge, beside noise")]
    why = rounding or "single ones, beside noise" if not blocks.all() else ""
    said.append(_said(float((zero & ~blocks).mean()), "data", why))
    return blocks, ", ".join(each for each in said if each)


def _said(share: float, what: str, why: str) -> str:
    return f"{100 * share:.1f} % of pixels are exactly 0 and {what} ({why})" if share > MANY else ""


def rounded(image: np.ndarray) -> str:
    """Return, in words, that the values of an image are all multiples of one step; "" if they are not."""
    values = np.abs(image[np.isfinite(image) & (image != 0)]).astype(float)
    if len(values) < ENOUGH:
        return ""
    step = values.min()
    near = values[values < STEPS * step] / step
    if len(near) < ENOUGH or len(near) < 0.1 * len(values) or len(np.unique(np.round(near))) < SIDE:
        return ""
    return f"all values are multiples of {step:.3g}" if np.abs(near - np.round(near)).max() < 0.01 else ""


def padding(image: np.ndarray, zero: np.ndarray, rounded_values: bool) -> np.ndarray:
    """Return the zeros in solid blocks that reach the edge of an image (row, col) and lie beside sky with noise."""
    empty = zero | ~np.isfinite(image)
    solid = binary_dilation(binary_erosion(empty, SQUARE, border_value=1), SQUARE) & empty
    for axis in (0, 1):  # rows and columns along the edge, thinner than a square
        lines = empty.all(axis=1 - axis)
        for along in (lines, lines[::-1]):
            count = int(np.argmin(along)) if not along.all() else 0
            part = [slice(None), slice(None)]
            part[axis] = slice(count) if along is lines else slice(len(lines) - count, None)
            solid[tuple(part)] = True
    if not rounded_values:
        solid = binary_propagation(solid, mask=empty)
    found = np.zeros(image.shape, bool)
    parts, count = label(solid)
    for number in range(1, count + 1):
        block = parts == number
        edge = block[0].any() or block[-1].any() or block[:, 0].any() or block[:, -1].any()
        rim = binary_dilation(block, np.ones((2 * RIM + 1, 2 * RIM + 1), bool)) & ~block & np.isfinite(image)
        if edge and (block & zero).any() and _has_noise(image[rim]):
            found |= block
    return found & zero


def _has_noise(values: np.ndarray) -> bool:
    """Return whether pixels (n,) are sky with noise: they scatter to both sides of 0, or around a level far above that.

    The wings of a model without noise do neither.
    """
    if len(values) < SIDE:
        return False
    middle = float(np.median(values))
    scatter = float(np.median(np.abs(values - middle)))
    both = min((values > 0).mean(), (values < 0).mean()) > 0.1
    return scatter > 0 and (bool(both) or abs(middle) > 5 * scatter)
