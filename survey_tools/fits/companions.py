"""Images that accompany images of the sky: weights, noise, masks, models, PSFs. They do not show the sky.

They are recognised by their names, by their headers, and by their values if neither says it.
"""

import re

import numpy as np
from astropy.io import fits

KINDS = {  # kind: its names, in capitals, as a word of an EXTNAME, of a file's name, or of IMAGETYP
    "weight map": ("WEIGHT", "WEIGHTS", "WEIGHTMAP", "WHT", "WGT", "WT", "WEI", "WMAP", "IVAR", "INVVAR", "IV"),
    "noise map": ("RMS", "RMSMAP", "ERR", "ERROR", "ERRORS", "SIGMA", "STD", "STDDEV", "UNC", "UNCERT", "UNCERTAINTY",
                  "NOISE", "NOISEMAP", "VAR", "VARIANCE"),
    "mask": ("MASK", "MASKS", "MSK", "MASKBITS", "BITMASK", "FLAG", "FLAGS", "FLAGMAP", "DQ", "BPM", "BADPIX", "CR",
             "CRMASK"),
    "segmentation map": ("SEG", "SEGM", "SEGMAP", "SEGMENTATION", "OBJMASK"),
    "model": ("MODEL", "MODELS", "RESID", "RESIDUAL", "RESIDUALS", "CHI2", "BLOBMODEL", "SIGNAL", "TRUTH"),
    "PSF image": ("PSF", "PSFS", "PSFEX", "KERNEL", "LSF"),
    "map of the sky level": ("BKG", "BACK", "BACKGROUND", "BKGRMS", "SKYMAP", "ALLSKY"),
    "exposure map": ("EXPMAP", "EXPTIME", "EXPWT", "NEXP", "NUM", "NIMAGE", "COVERAGE", "COV", "CONTEXT", "CTX", "CON",
                     "TIME", "SAMP", "DEPTH"),
    "calibration frame": ("FLAT", "BIAS", "DARK", "FRINGE", "ZERO"),
}  # fmt: skip
KIND_OF = {word: kind for kind, words in KINDS.items() for word in words}
BEGINNING = {"WEIGHT", "WHT", "MASK", "FLAG", "FLAGS", "RMS", "SEGMENTATION", "INVVAR"}  # these may be the first word
A_PLAIN_WORD = re.compile(r"[UGRIZY]|I2|\d+|FITS?|FTS|FZ|GZ|BZ2|MP\d{4}|V\d+|HDU\d+|CCD\d*|CHIP\d*|EXT\d*|IMAGE|MAP")
STATED = (
    "IMAGETYP",
    "IMAGETYPE",
    "IMTYPE",
    "OBSTYPE",
    "PRODCATG",
    "DATATYPE",
    "DATA_TYPE",
    "HDUCLAS2",
    "HDUCLAS3",
    "FLAVOR",
    "EXTTYPE",
)
FEW = 8  # largest number of different values of flags in samples of an image
SAMPLES = (1 / 6, 1 / 2, 5 / 6)  # places along each axis at which values are examined
SAMPLE_SIZE = 48  # [pixel] side of such a place


def said_by_name(name: str) -> str:
    """Return the kind of a companion by the name of its file, such as "weight map"; "" if the name does not say so.

    Such words are the last ones, before letters of bands and numbers: `w1.weight.fits`, `coadd_invvar-r.fits.fz`; or
    the first ones.
    """
    words = [word for word in re.split(r"[^A-Z0-9]+", name.rpartition("/")[2].upper()) if word]
    while words and A_PLAIN_WORD.fullmatch(words[-1]):
        words.pop()
    if not words:
        return ""
    if words[0] in BEGINNING:
        return KIND_OF[words[0]]
    return KIND_OF.get(words[-1], "") if len(words) > 1 or words[-1] in BEGINNING else ""


def said_by_header(header: fits.Header) -> str:
    """Return the kind of a companion by EXTNAME, OBJECT or the type that its header states; "" if it is none."""
    words = _words(header.get("EXTNAME", ""))
    if words and not words & {"SCI", "SCIENCE", "IMAGE", "IMG", "DATA"}:
        for word in words:
            if word in KIND_OF:
                return KIND_OF[word]
    for key in STATED:
        for word in _words(header.get(key, "")):
            if word in KIND_OF and word != "ZERO":
                return KIND_OF[word]
    named = _words(header.get("OBJECT", ""))
    return KIND_OF[next(iter(named))] if len(named) == 1 and named <= KIND_OF.keys() - SHORT else ""


SHORT = {
    "WT",
    "IV",
    "CR",
    "STD",
    "ERR",
    "VAR",
    "CON",
    "COV",
    "TIME",
    "ZERO",
    "BACK",
    "DEPTH",
    "DARK",
    "SIGNAL",
    "TRUTH",
}


def _words(value) -> set[str]:
    """Return the words of a value, in capitals, without numbers and letters of bands."""
    found = re.split(r"[^A-Z0-9]+", str(value).upper())
    return {re.sub(r"\d+$", "", word) if word not in KIND_OF else word for word in found if word and not word.isdigit()}


def said_by_values(samples: np.ndarray, integers: bool) -> str:
    """Return the kind of an image that does not show the sky by the values (n,) of its samples; "" if it may.

    Light has noise: an image is not of the sky if all its pixels have one value that is not 0, or if it has a few whole
    numbers of which most are 0.
    """
    values = samples[np.isfinite(samples)]
    if len(values) < FEW**2:
        return ""
    found = np.unique(values)
    if len(found) == 1 and found[0] != 0:
        return f"not an image of the sky: every pixel that was examined is {found[0]:g}"
    if integers and 1 < len(found) <= FEW and found[0] == 0 and (values == 0).mean() > 0.5:
        return f"a mask according to its values, which are only {', '.join(f'{value:g}' for value in found)}"
    return ""


def samples_of(pixels) -> np.ndarray:
    """Return some pixels (n,) of an image, or of anything with a shape that can be sliced, from places all over it."""
    size = min(SAMPLE_SIZE, *pixels.shape)
    starts = [[int((extent - size) * place) for place in SAMPLES] for extent in pixels.shape]
    parts = [pixels[row : row + size, col : col + size] for row in starts[0] for col in starts[1]]
    return np.concatenate([np.ravel(part) for part in parts])
