"""Draw sources onto pixels, without noise. Both surveys see the simulated sky through this one renderer."""

from functools import lru_cache

import galsim
import numpy as np
from astropy.table import Row, Table
from astropy.wcs import WCS

from survey_tools.surveys import SURVEYS
from survey_tools.twin_sky.exposure import Psf
from survey_tools.twin_sky.galaxies import BULGE_CUT, COMPONENTS

BULGE, DISK, ARMS = range(len(COMPONENTS))
ARMS_GRID, ARMS_STEP = 112, 0.09  # pixels per side of the face-on pattern of arms, and its step [disk scale length]
ARMS_CUT = ARMS_GRID * ARMS_STEP / 2  # [disk scale length] radius to which arms are drawn
DISK_CUT = 8.0  # [disk scale length] radius to which disks are drawn; 0.3 % of the light lies beyond
PSF_MARGIN = 4.0  # [arcsec] around a galaxy's edge
SMALL = 15.0  # [arcsec] radius up to which it is quicker to draw the components of a galaxy together
LARGEST_RADIUS = 75.0  # [arcsec] largest radius to which a source is drawn
FLOCCULENT = 30  # [deg] pitch angle beyond which there are knots but no arms


def render(sources: Table, wcs: WCS, shape: tuple[int, int], psf: Psf, survey: str, band: str) -> np.ndarray:
    """Render the noise-free image of a sky: the flux per pixel of every source that reaches onto it.

    Parameters
    ----------
    sources : Table
        Sources, as `galaxies` draws them, with columns ra and dec [deg, ICRS].
    wcs : WCS
        TAN WCS of the image.
    shape : tuple of int
        Rows and columns of the image.
    psf : Psf
        Point-spread function of the image.
    survey : str
        The survey whose filters see it.
    band : str
        One of the survey's bands.

    Returns
    -------
    ndarray
        (row, col) float32 [nanomaggy/pixel]; integrals over each pixel.
    """
    image = galsim.ImageF(shape[1], shape[0], xmin=0, ymin=0)
    blur = galsim.Moffat(beta=psf.beta, fwhm=psf.fwhm).shear(g1=psf.g1, g2=psf.g2)
    flux = np.asarray(sources[f"flux_{survey}"])[:, :, SURVEYS[survey].bands.index(band)]
    columns, rows, jacobians = _places(sources, wcs)
    scale = np.sqrt(np.abs(np.linalg.det(jacobians)))
    radius = drawn_radius(sources) / scale
    for number in np.flatnonzero(_reaches(columns, rows, radius, shape)):
        local = galsim.JacobianWCS(*jacobians[number].ravel())
        place = galsim.PositionD(columns[number], rows[number])
        for profile, reach in profiles_of(sources[number], flux[number]):
            seen = blur * flux[number].sum() if profile is None else galsim.Convolve(profile, blur)
            half = int(min(reach / scale[number], radius[number])) + 1
            bounds = galsim.BoundsI(-half, half, -half, half).shift(place.round())
            if (inside := bounds & image.bounds).isDefined():
                image[inside] += seen.drawImage(bounds=bounds, wcs=local, center=place, dtype=np.float32)[inside]
    return image.array


def drawn_radius(sources: Table) -> np.ndarray:
    """Return how far from its centre each source is drawn.

    Parameters
    ----------
    sources : Table
        Sources, as `galaxies` draws them.

    Returns
    -------
    ndarray
        (n,) [arcsec].
    """
    star = sources["kind"] == "star"
    bulge = np.where(sources["bulge_fraction"] > 0, BULGE_CUT * sources["bulge_radius"], 0)
    bulge = bulge / np.sqrt(sources["bulge_axis_ratio"])
    disk = np.where(sources["bulge_fraction"] < 1, DISK_CUT * sources["disk_scale"], 0)
    galaxy = np.maximum(bulge, disk / np.sqrt(sources["disk_axis_ratio"])) + PSF_MARGIN
    halo = np.maximum(5.0, 15.0 * 10 ** (-0.1 * (np.asarray(sources["r"]) - 16)))  # to below any noise
    return np.minimum(np.where(star, halo, galaxy), LARGEST_RADIUS)


def profiles_of(source: Row, flux: np.ndarray) -> list[tuple[galsim.GSObject | None, float]]:
    """Return the light of one source above the atmosphere as profiles.

    On the sky, east is the first coordinate and north the second. The bulge is a Sérsic profile, the disk exponential;
    arms and knots are a pattern that lies in the disk and is inclined with it. In large galaxies each component is a
    profile of its own: a small bulge needs fine pixels and a large disk needs many, and together they would need both.

    Parameters
    ----------
    source : Row
        The source.
    flux : ndarray
        (3,) flux of its components.

    Returns
    -------
    list of tuple
        Each profile, or None for a star, and how far it reaches [arcsec].
    """
    if source["kind"] == "star":
        return [(None, LARGEST_RADIUS)]
    direction = (90 - source["position_angle"]) * galsim.degrees
    bulge_shear = galsim.Shear(q=source["bulge_axis_ratio"], beta=direction)
    disk_shear = galsim.Shear(q=source["disk_axis_ratio"], beta=direction)
    radius, scale = source["bulge_radius"], source["disk_scale"]
    longer = scale / np.sqrt(source["disk_axis_ratio"])
    profiles = []
    if flux[BULGE] > 0:
        bulge = galsim.Sersic(source["bulge_index"], half_light_radius=1.0, trunc=BULGE_CUT, flux=flux[BULGE])
        reach = BULGE_CUT * radius / np.sqrt(source["bulge_axis_ratio"]) + PSF_MARGIN
        profiles.append((bulge.dilate(radius).shear(bulge_shear), reach))
    if flux[DISK] > 0:
        disk = galsim.Exponential(scale_radius=scale, flux=flux[DISK])
        profiles.append((disk.shear(disk_shear), DISK_CUT * longer + PSF_MARGIN))
    if flux[ARMS] > 0:
        arms = _arms(round(float(source["pitch"]), 3), int(source["pattern"]))
        profiles.append((arms.dilate(scale).withFlux(flux[ARMS]).shear(disk_shear), ARMS_CUT * longer + PSF_MARGIN))
    largest = max(reach for _, reach in profiles)
    return profiles if largest > SMALL else [(galsim.Sum([profile for profile, _ in profiles]), largest)]


@lru_cache(maxsize=512)
def _arms(pitch: float, pattern: int) -> galsim.GSObject:
    """Return a face-on pattern as a profile of unit flux; the scale length of its disk is 1."""
    image = galsim.ImageF(arms_pattern(pitch, np.random.default_rng(pattern)), scale=ARMS_STEP)
    return galsim.InterpolatedImage(
        image,
        x_interpolant="cubic",
        k_interpolant="cubic",
        pad_factor=3,
        flux=1.0,
        calculate_stepk=False,
        calculate_maxk=False,
    )


def arms_pattern(pitch: float, rng: np.random.Generator) -> np.ndarray:
    """Draw the surface brightness of spiral arms with star-forming knots, face-on.

    The arms are logarithmic spirals whose phase wanders a little, as in real disks, on an exponential disk with a hole
    at the place of the bulge. Two fifths of the light is in knots along the arms.

    Parameters
    ----------
    pitch : float
        Pitch angle [deg]; its sign is the sense of winding.
    rng : Generator
        Random numbers.

    Returns
    -------
    ndarray
        (row, col) float32, of sum 1.
    """
    row, col = (np.mgrid[:ARMS_GRID, :ARMS_GRID] - (ARMS_GRID - 1) / 2) * ARMS_STEP
    radius, angle = np.hypot(row, col) + 1e-3, np.arctan2(row, col)
    count = rng.choice([2, 2, 3, 4])
    log_radius = np.log(radius)
    wander = sum(rng.normal(0, 0.25) * np.sin((k + 1) * log_radius + rng.uniform(0, 2 * np.pi)) for k in range(3))
    phase = count * (angle - log_radius / np.tan(np.radians(pitch)) - wander) + rng.uniform(0, 2 * np.pi)
    sharpness = 0.0 if abs(pitch) > FLOCCULENT else rng.uniform(1.5, 4)
    disk = np.exp(-radius) * (1 - np.exp(-((radius / 0.6) ** 2))) * np.clip((ARMS_CUT - radius) / 2, 0, 1)
    smooth = disk * np.exp(sharpness * (np.cos(phase) - 1))
    smooth /= smooth.sum()
    weight = (smooth * radius).ravel() ** 1.2  # outer disks have more of their light in knots
    places = rng.choice(weight.size, rng.integers(25, 90), p=weight / weight.sum())
    knots = np.zeros_like(smooth)
    for place in places:
        width = 2 * (rng.uniform(1.0, 2.2) * ARMS_STEP) ** 2
        down, along = (
            np.exp(-((row[:, 0] - row.flat[place]) ** 2) / width),
            np.exp(-((col[0] - col.flat[place]) ** 2) / width),
        )
        knots += rng.lognormal(0, 0.7) * np.outer(down, along)
    return (0.6 * smooth + 0.4 * knots / knots.sum()).astype(np.float32)


def _places(sources: Table, wcs: WCS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return column and row of each source (n,), from 0, and matrices (n, 2, 2) from pixels to arcsec (east, north)."""
    ra, dec = (np.asarray(sources[name], dtype=float) for name in ("ra", "dec"))
    step = 1 / 3600
    pixels = wcs.wcs_world2pix(np.stack([ra, dec], axis=1), 0)
    east = wcs.wcs_world2pix(np.stack([ra + step / np.cos(np.radians(dec)), dec], axis=1), 0) - pixels
    north = wcs.wcs_world2pix(np.stack([ra, dec + step], axis=1), 0) - pixels
    return pixels[:, 0], pixels[:, 1], np.linalg.inv(np.stack([east, north], axis=2))


def _reaches(columns, rows, radius, shape: tuple[int, int]) -> np.ndarray:
    """Return which sources (n,) of this radius [pixel] touch an image of this shape."""
    return (columns > -radius - 1) & (columns < shape[1] + radius) & (rows > -radius - 1) & (rows < shape[0] + radius)
