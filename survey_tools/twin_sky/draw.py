"""Sources onto pixels: the one renderer through which both surveys see the simulated sky. Without noise."""

from functools import lru_cache

import galsim
import numpy as np
from astropy.table import Row, Table
from astropy.wcs import WCS

from survey_tools.surveys import SURVEYS
from survey_tools.twin_sky.exposure import Psf
from survey_tools.twin_sky.galaxies import BULGE_CUT, COMPONENTS

BULGE, DISK, ARMS = range(len(COMPONENTS))
ARMS_GRID, ARMS_STEP = 112, 0.09  # pixels a side of the face-on pattern of arms, and its step [disk scale lengths]
ARMS_CUT = ARMS_GRID * ARMS_STEP / 2  # disk scale lengths
DISK_CUT = 8.0  # disk scale lengths to which disks are drawn; 0.3 % of the light lies beyond
PSF_MARGIN = 4.0  # [arcsec] around a galaxy's edge
SMALL = 15.0  # [arcsec] up to which it is quicker to draw the components of a galaxy together
LARGEST_RADIUS = 75.0  # [arcsec] to which anything is drawn
FLOCCULENT = 30  # [deg] pitch beyond which there are knots but no arms


def render(sources: Table, wcs: WCS, shape: tuple[int, int], psf: Psf, survey: str, band: str) -> np.ndarray:
    """The noise-free image of a sky: flux per pixel of every source that reaches onto it.

    Args:
        sources: As `galaxies` draws them, with columns ra and dec [deg, ICRS].
        wcs: TAN WCS of the image.
        shape: Its rows and columns.
        psf: Its point-spread function.
        survey: Whose filters see it.
        band: One of the survey's bands.

    Returns:
        (row, col) float32, nanomaggy/pixel; integrals over each pixel.
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
    """How far from its centre each source is drawn [arcsec] (n,)."""
    star = sources["kind"] == "star"
    bulge = np.where(sources["bulge_fraction"] > 0, BULGE_CUT * sources["bulge_radius"], 0)
    bulge = bulge / np.sqrt(sources["bulge_axis_ratio"])
    disk = np.where(sources["bulge_fraction"] < 1, DISK_CUT * sources["disk_scale"], 0)
    galaxy = np.maximum(bulge, disk / np.sqrt(sources["disk_axis_ratio"])) + PSF_MARGIN
    halo = np.maximum(5.0, 15.0 * 10 ** (-0.1 * (np.asarray(sources["r"]) - 16)))  # to below any noise
    return np.minimum(np.where(star, halo, galaxy), LARGEST_RADIUS)


def profiles_of(source: Row, flux: np.ndarray) -> list[tuple[galsim.GSObject | None, float]]:
    """The light of one source above the atmosphere: profiles, and how far each reaches [arcsec]; None for a star.

    `flux` is that of its components (3,). On the sky east is the first coordinate and north the second. Bulge: Sérsic.
    Disk: exponential. Arms and knots: a pattern that lies in the disk and is inclined with it. In large galaxies each
    is a profile of its own: a small bulge needs fine pixels and a large disk many, and together they need both.
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
    """A face-on pattern as a profile of unit flux, its disk's scale length being 1."""
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
    """Surface brightness of spiral arms with star-forming knots, face-on: (row, col) float32, sum 1.

    Logarithmic spirals (`pitch` [deg], its sign the sense of winding) whose phase wanders a little, as in real disks,
    on an exponential disk with a hole where the bulge is; two fifths of the light is in knots strewn along the arms.
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
    """Column and row of each source (n,), from 0, and the matrices (n, 2, 2) from pixels to arcsec east and north."""
    ra, dec = (np.asarray(sources[name], dtype=float) for name in ("ra", "dec"))
    step = 1 / 3600
    pixels = wcs.wcs_world2pix(np.stack([ra, dec], axis=1), 0)
    east = wcs.wcs_world2pix(np.stack([ra + step / np.cos(np.radians(dec)), dec], axis=1), 0) - pixels
    north = wcs.wcs_world2pix(np.stack([ra, dec + step], axis=1), 0) - pixels
    return pixels[:, 0], pixels[:, 1], np.linalg.inv(np.stack([east, north], axis=2))


def _reaches(columns, rows, radius, shape: tuple[int, int]) -> np.ndarray:
    """Which sources (n,) of this radius [pixel] touch an image of this shape."""
    return (columns > -radius - 1) & (columns < shape[1] + radius) & (rows > -radius - 1) & (rows < shape[0] + radius)
