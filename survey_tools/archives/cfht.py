"""CFHTLS T0007 stacks by Terapix: tiles of one square degree, each band on the same grid of pixels.

Keywords and units: CFHTLS T0007 documentation, https://www.cfht.hawaii.edu/Science/CFHTLS/T0007
"""

import logging

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import Table
from astropy.wcs import WCS
from astropy.wcs.utils import wcs_to_celestial_frame

from survey_tools.archives.fits_files import ImageFile, header_number, open_image, scan
from survey_tools.archives.mirror import Mirror
from survey_tools.archives.plan import Cuts, Plan, Sky, Source, require_bands
from survey_tools.cutout import Cutout, window
from survey_tools.errors import ArchiveError
from survey_tools.photometry import counts_to_nanomaggies
from survey_tools.surveys import CFHT
from survey_tools.tan import tan_terms, tan_wcs

DIGITS = 10  # [decimals of deg, pixel] to which the WCS of two bands must agree to share a grid

log = logging.getLogger(__name__)


def plan(mirror: Mirror, catalogue: Table, bands: tuple[str, ...], workers: int) -> Plan:
    """Which stacks to open for which objects.

    Stacks on the same grid form a pointing. An object is cut from the pointing that has most of the bands; among equal
    ones from that on which it lies farthest from the edge.

    Raises:
        ArchiveError: Where no stack can be found at all, or none of a band.
    """
    images, unreadable = scan(mirror, CFHT, workers)
    require_bands(mirror.root, CFHT, bands, images, unreadable)
    pointings = _pointings([image for image in images if image.band in bands])
    chosen = _choose(pointings, Sky(catalogue["ra"], catalogue["dec"]), len(catalogue))
    sources = []
    for index, pointing in enumerate(pointings):
        rows = np.flatnonzero(chosen == index)
        sources += [Source(image.name, band, rows) for band, image in pointing.items() if len(rows)]
    return Plan(sorted(sources, key=lambda source: source.name), unreadable)


def cut(mirror: Mirror, source: Source, ra: np.ndarray, dec: np.ndarray) -> Cuts:
    """Cutouts of one stack on its own pixels around (ra, dec) (n,) [deg], in nanomaggies.

    Pixels that are exactly 0 were seen by no exposure and become NaN.

    Raises:
        ArchiveError: Where the file is missing or damaged, or on a grid whose pixels cannot be kept as they are.
    """
    with open_image(CFHT, mirror, source.name) as (image, header, pixels):
        wcs = _icrs_tan(image)
        zero_point = header_number(image.name, header, "MZP_AB", CFHT.zero_point)
        saturation = header_number(image.name, header, "SATURATE", np.inf)
        cutouts = []
        for position in zip(ra, dec, strict=True):
            counts, part = window(pixels, wcs, *position, CFHT.cutout_size)
            counts[counts == CFHT.no_data] = np.nan
            flux = counts_to_nanomaggies(counts, zero_point).astype(np.float32)
            cutouts.append(Cutout(flux, counts >= saturation, part))
        return Cuts(cutouts, zero_point, header_number(image.name, header, "IQIMAGE", np.nan))


def _pointings(images: list[ImageFile]) -> list[dict[str, ImageFile]]:
    """The images, grouped by their grid of pixels: band to image, the first by name where a band is there twice."""
    grids: dict[tuple, dict[str, ImageFile]] = {}
    for image in images:
        terms = np.concatenate([np.ravel(term) for term in tan_terms(image.wcs)])
        grid = grids.setdefault((*image.wcs.wcs.ctype, *image.shape, *np.round(terms, DIGITS)), {})
        if image.band in grid:
            log.warning("%s is left out: %s is of the same band and grid", image.name, grid[image.band].name)
        grid.setdefault(image.band, image)
    return list(grids.values())


def _choose(pointings: list[dict[str, ImageFile]], sky: Sky, count: int) -> np.ndarray:
    """Index of the pointing to cut each of `count` objects from (object,); -1 where it is on none."""
    chosen, bands, depth = np.full(count, -1), np.zeros(count, int), np.zeros(count)
    for index, pointing in enumerate(pointings):
        rows, inside = sky.on(next(iter(pointing.values())))
        better = (len(pointing) > bands[rows]) | ((len(pointing) == bands[rows]) & (inside > depth[rows]))
        rows, inside = rows[better], inside[better]
        chosen[rows], bands[rows], depth[rows] = index, len(pointing), inside
    return chosen


def _icrs_tan(image: ImageFile) -> WCS:
    """The WCS of a stack as ICRS TAN terms; ArchiveError where it is another projection or an old equinox."""
    projection = tuple(image.wcs.wcs.ctype)
    if projection != ("RA---TAN", "DEC--TAN") or image.wcs.sip is not None:
        raise ArchiveError(f"{image.name} has the projection {', '.join(projection)}; only plain TAN stacks can be cut")
    frame = wcs_to_celestial_frame(image.wcs)
    if frame.name not in ("icrs", "fk5"):
        raise ArchiveError(f"{image.name} has coordinates {frame.name}, not ICRS or FK5; resample it to ICRS first")
    crval, crpix, cd = tan_terms(image.wcs)
    reference = SkyCoord(*crval, unit="deg", frame=frame).icrs  # FK5 J2000 lies 0.02" off, and turned by as little
    return tan_wcs((reference.ra.deg, reference.dec.deg) if frame.name == "fk5" else crval, crpix, cd)
