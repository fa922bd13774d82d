"""The simulated sky as the files of the archives: the patch that they show, its tiles, and CFHTLS stacks."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table, vstack
from astropy.wcs import WCS

from survey_tools.files import whole_file
from survey_tools.images.sky_wcs import tan_wcs
from survey_tools.photometry import nanomaggies_to_counts
from survey_tools.surveys import CFHT, OWN, SDSS
from survey_tools.tasks import run_tasks
from survey_tools.twin_sky.coadd_files import (
    FLAGS_OF_ALL_BANDS,
    LAYOUTS,
    WITH_GAPS,
    Coadd,
    write_coadd,
    write_maskbits,
)
from survey_tools.twin_sky.draw import render
from survey_tools.twin_sky.exposure import CFHT_EXPOSURE, CfhtExposure, SdssExposure, draw_exposure, draw_night
from survey_tools.twin_sky.frames import (
    CAMCOL,
    FIELDS,
    RERUN,
    RUN,
    STRIP_SHAPE,
    field_rows,
    strip_wcs,
    write_frames,
    write_masks,
    write_psfields,
)
from survey_tools.twin_sky.galaxies import draw_galaxies, draw_magnitudes, draw_stars
from survey_tools.twin_sky.observing_facts import SIMULATED
from survey_tools.twin_sky.stores import CATALOGUE_FILES, CENTRE, FAINT_DENSITY, STAR_DENSITY, catalogue_of
from survey_tools.version import VERSION

FOLDERS = {"sdss": "sas"}  # folder of the files of a survey, where it is not called as the survey
FILTERS = {"u": "u.MP9301", "g": "g.MP9401", "r": "r.MP9601", "i": "i.MP9701", "z": "z.MP9801"}
BORDER = 16  # pixels along a stack's edges that no exposure reached
NEVER_EMPTY = 1e-6  # counts of a covered pixel without light in a noise-free stack: 0 would mean that it has no data
TILE_OVERLAP = 350  # pixels that both tiles share
CLUMP_SPACING = 100.0  # [arcsec] between clumps of galaxies
CLUMP_RADIUS = 29.0  # [arcsec]: galaxies of two clumps are at least 36", the diagonal of a cutout, apart
CLUMP_JITTER = 3.0  # [arcsec]
EDGE = 18.0  # [arcsec] of the tiles' outer edges that are free of catalogued galaxies: half a cutout's diagonal
BRIGHT, FAINT, SLOPE = 14.0, 18.5, 0.4  # r magnitudes of the catalogued galaxies, and the rise of their numbers
SHARED = 0.5  # fraction of the galaxies in both catalogues; the others are in one, half of them in each


def tile_wcs(ra: float, dec: float, size: int, scale: float = CFHT.pixel_scale) -> WCS:
    """Return the WCS of a stack: north up, tangent at its centre.

    Parameters
    ----------
    ra, dec : float
        Its centre [deg].
    size : int
        Rows, and columns [pixel].
    scale : float
        Side of a pixel [arcsec].

    Returns
    -------
    WCS
        TAN, ICRS.
    """
    degrees = scale / 3600
    return tan_wcs((ra, dec), ((size + 1) / 2,) * 2, [[-degrees, 0.0], [0.0, degrees]])


def stack_path(root: Path, band: str, wcs: WCS) -> Path:
    """Return where a stack lies. Its name states its centre as real names do, but without their prefix.

    Parameters
    ----------
    root : Path
        Folder of the simulated files.
    band : str
        Band of the stack.
    wcs : WCS
        WCS of the stack.

    Returns
    -------
    Path
        The file.
    """
    centre = SkyCoord(*wcs.wcs.crval, unit="deg")
    ra = centre.ra.to_string("hour", sep="", precision=0, pad=True)
    dec = centre.dec.to_string("deg", sep="", precision=0, pad=True, alwayssign=True)
    return root / "cfht" / f"TWINSKY_W_{band}_{ra}{dec}_T0007_MEDIAN.fits"


def covered(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Draw which pixels of a stack at least one exposure reached: not the border, one cut corner and a dead column.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns.
    rng : Generator
        Random numbers.

    Returns
    -------
    ndarray
        (row, col) bool.
    """
    row, col = np.ogrid[: shape[0], : shape[1]]
    edge = np.minimum(np.minimum(row, shape[0] - 1 - row), np.minimum(col, shape[1] - 1 - col))
    corner = np.abs(row - rng.choice([0, shape[0]])) + np.abs(col - rng.choice([0, shape[1]])) > shape[0] // 20
    dead = (np.abs(col - rng.integers(shape[1])) <= 1) & (row < shape[0] // 4)
    return (edge >= BORDER) & corner & ~dead


def write_stack(root: Path, band: str, flux: np.ndarray, wcs: WCS, exposure: CfhtExposure, seed: int) -> None:
    """Write a stack.

    Parameters
    ----------
    root : Path
        Folder of the simulated files.
    band : str
        Band of the stack.
    flux : ndarray
        (row, col) [nanomaggy/pixel], NaN where no exposure reached.
    wcs : WCS
        WCS of the stack.
    exposure : CfhtExposure
        Its noise and seeing, for the header.
    seed : int
        Seed of the simulation, for the header.
    """
    counts = nanomaggies_to_counts(flux, CFHT.zero_point).astype(np.float32)
    counts = np.where(np.isnan(counts), 0, np.where(counts == 0, np.float32(NEVER_EMPTY), counts))
    primary = fits.PrimaryHDU(counts)
    _describe(primary.header, band, wcs, exposure, seed)
    path = stack_path(root, band, wcs)
    primary.header["FILENAME"] = path.name
    with whole_file(path) as temporary:
        primary.writeto(temporary)


def _describe(header: fits.Header, band: str, wcs: WCS, exposure: CfhtExposure, seed: int) -> None:
    """Write the keywords of a T0007 stack."""
    header["EQUINOX"] = 2000.0, "Mean equinox"
    header["RADECSYS"] = "ICRS", "Astrometric system"
    header.update(CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CUNIT1="deg", CUNIT2="deg")
    header.update(CRVAL1=wcs.wcs.crval[0], CRVAL2=wcs.wcs.crval[1], CRPIX1=wcs.wcs.crpix[0], CRPIX2=wcs.wcs.crpix[1])
    header.update(CD1_1=wcs.wcs.cd[0, 0], CD1_2=0.0, CD2_1=0.0, CD2_2=wcs.wcs.cd[1, 1])
    header["EXPTIME"] = CFHT_EXPOSURE[band], "Total exposure time (in seconds)"
    header["GAIN"] = exposure.gain, "Maximum equivalent gain (e-/ADU)"
    # A whole number at or below the level of the clipped pixels, whatever the last digit of their floats.
    header["SATURATE"] = float(np.floor(exposure.saturation * (1 - 1e-6))), "Saturation Level (ADU)"
    header["RELEASE"] = "galtrans twin sky, after CFHTLS T0007"
    header["TERAPIX"] = "T0007", "release that this simulation follows"
    header.update(TELESCOP="simulated", INSTRUME="MegaPrime", DETECTOR="MegaCam")
    header["FILTER"] = FILTERS[band], "Name of filter in position"
    header["OBJECT"] = "twin sky"
    header["COMBINET"] = "MEDIAN"
    header["MZP_AB"] = CFHT.zero_point, "Zeropoint Magnitude (AB)"
    header["IQIMAGE"] = round(exposure.psf.fwhm, 4), "Image Quality of this stack (arcsec)"
    header["ORIGIN"] = "galtrans twin sky"
    header["SIMULATD"] = True, "simulated, not observed"
    header["SIMSEED"] = seed, "random seed of the simulation"
    header["SIMVERS"] = VERSION, "version of galtrans"


@dataclass(frozen=True)
class Patch:
    """What is simulated as archive files.

    Attributes
    ----------
    galaxies : int
        Number of galaxies in the catalogues, limited by r magnitude.
    bands : dict
        Bands of each survey, as one word; its keys are the surveys.
    tile_size : int
        Pixels per side of a CFHT tile.
    seed : int
        Seed.
    """

    galaxies: int
    bands: dict[str, str]
    tile_size: int
    seed: int


def make_archive(out: Path, patch: Patch, workers: int) -> None:
    """Write the files of the archives, their noise-free twins below `truth`, and the catalogues into a folder.

    The folder is empty, or has the files of an interrupted call for the same patch, which stay.
    `simulate.simulate_archive` says what the files contain.

    Parameters
    ----------
    out : Path
        The folder.
    patch : Patch
        What to simulate.
    workers : int
        Number of processes.
    """
    sky, targets = draw_sky(patch)
    for survey in patch.bands:
        mine = targets[targets[survey]]
        mine = mine[np.random.default_rng([patch.seed, 1, SIMULATED[survey].code - 1]).permutation(len(mine))]
        catalogue = catalogue_of(survey, mine, patch.seed)
        if OWN[survey].catalogue_columns:
            catalogue = with_fields(catalogue)
        catalogue.write(out / CATALOGUE_FILES[survey], overwrite=True)
    tasks = [
        (out, sky, patch, survey, band, tile)
        for survey, bands in patch.bands.items()
        for band in bands
        for tile in ((0,) if survey == "sdss" else (0, 1))
    ]
    run_tasks(_write_image_once, tasks, workers, "simulate the archives")
    for survey in patch.bands:
        if survey in FINISHERS:
            FINISHERS[survey](out, patch)


def draw_sky(patch: Patch) -> tuple[Table, Table]:
    """Draw everything that shines in the patch, and the galaxies among it that the catalogues list.

    The latter lie in loose clumps (`CLUMP_SPACING`, `CLUMP_RADIUS`), so that the sky can be split into regions whose
    cutouts do not overlap.

    Parameters
    ----------
    patch : Patch
        What to simulate.

    Returns
    -------
    sky, targets : Table
        All sources, and the catalogued galaxies. Columns of the latter with the names of the surveys say which
        catalogues have them.
    """
    rng, surveys = np.random.default_rng([patch.seed, 0]), tuple(patch.bands)
    targets = draw_galaxies(np.sort(draw_magnitudes(patch.galaxies, BRIGHT, FAINT, SLOPE, rng)), rng, surveys)
    east, north = clumped(targets, *_half_extent(patch.tile_size), rng)
    _place(targets, east, north)
    targets["number"] = np.arange(len(targets))
    chance = rng.permutation((np.arange(len(targets)) + 0.5) / max(len(targets), 1))
    alone = (1 - SHARED) / len(surveys)  # fraction of the galaxies that are in the catalogue of this survey alone
    for place, survey in enumerate(surveys):
        shared = (chance > alone) & (chance < alone + SHARED)
        first, last = (alone + SHARED + alone * (place - 1), alone + SHARED + alone * place) if place else (0, alone)
        targets[survey] = shared | ((chance >= first) & (chance <= last))
    reach = np.hypot(*STRIP_SHAPE) / 2 * SDSS.pixel_scale + 30
    area = (2 * reach) ** 2
    galaxies = draw_galaxies(draw_magnitudes(rng.poisson(FAINT_DENSITY * area), 18.5, 23, 0.4, rng), rng, surveys)
    magnitudes = draw_magnitudes(rng.poisson(STAR_DENSITY * area), 14, 21, 0.13, rng)
    around = vstack([galaxies, draw_stars(magnitudes, rng, surveys)])
    _place(around, *rng.uniform(-reach, reach, (2, len(around))))
    return vstack([targets, around], join_type="inner"), targets


def clumped(targets: Table, half_width: float, half_height: float, rng: np.random.Generator) -> tuple:
    """Draw offsets of galaxies, brightest first, that fill loose clumps on a grid evenly.

    A galaxy keeps a distance from the others in its clump that depends on their sizes, if twenty draws find such a
    place.

    Parameters
    ----------
    targets : Table
        The galaxies, with half_light_radius [arcsec].
    half_width, half_height : float
        Half the extent of the area [arcsec].
    rng : Generator
        Random numbers.

    Returns
    -------
    east, north : ndarray
        Offsets from the centre of the patch [arcsec], one per galaxy.
    """
    grids = [np.arange(-(half // CLUMP_SPACING), half // CLUMP_SPACING + 1) for half in (half_width, half_height)]
    room = [half - CLUMP_RADIUS for half in (half_width, half_height)]
    centres = np.stack([axis.ravel() for axis in np.meshgrid(*(grid * CLUMP_SPACING for grid in grids))], axis=1)
    centres = centres[(np.abs(centres) <= np.maximum(room, 0)).all(axis=1)]
    centres = rng.permutation(centres + rng.uniform(-CLUMP_JITTER, CLUMP_JITTER, centres.shape))
    places = np.zeros((len(targets), 2))
    size = np.asarray(targets["half_light_radius"])
    for index in range(len(targets)):
        same = np.arange(index % len(centres), index, len(centres))
        clearances = []
        for _ in range(20):
            distance, angle = CLUMP_RADIUS * np.sqrt(rng.random()), rng.uniform(0, 2 * np.pi)
            place = centres[index % len(centres)] + distance * np.array([np.cos(angle), np.sin(angle)])
            apart = np.hypot(*(places[same] - place).T) / (4 + 2 * (size[same] + size[index]))
            clearances.append((apart.min(initial=np.inf), tuple(place)))
            if clearances[-1][0] > 1:
                break
        places[index] = max(clearances)[1]
    return places[:, 0], places[:, 1]


def with_fields(catalogue: Table) -> Table:
    """Return the SDSS catalogue with run, rerun, camcol and field of the nearest field, as SkyServer gives them.

    Parameters
    ----------
    catalogue : Table
        The catalogue, with ra and dec [deg].

    Returns
    -------
    Table
        The same table.
    """
    rows = strip_wcs(*CENTRE, 0.0, 0.0, SDSS.pixel_scale).wcs_world2pix(catalogue["ra"], catalogue["dec"], 0)[1]
    middles = np.array([(field_rows(k).start + field_rows(k).stop - 1) / 2 for k in range(len(FIELDS))])
    nearest = np.abs(np.asarray(rows)[:, None] - middles).argmin(axis=1)
    for name, value in (("run", RUN), ("rerun", RERUN), ("camcol", CAMCOL), ("field", np.array(FIELDS)[nearest])):
        catalogue[name] = np.full(len(catalogue), value, dtype=np.int32)
    return catalogue


def sdss_exposure(band: str, patch: Patch) -> SdssExposure:
    """Draw seeing and noise of the run in one band. All bands have the same night.

    Parameters
    ----------
    band : str
        The band.
    patch : Patch
        What is simulated.

    Returns
    -------
    SdssExposure
        The same for the same seed and band.
    """
    night = draw_night(np.random.default_rng([patch.seed, 10]))
    return draw_exposure("sdss", band, night, np.random.default_rng([patch.seed, 11, SDSS.bands.index(band)]))


def _write_image_once(out: Path, sky: Table, patch: Patch, survey: str, band: str, tile: int) -> None:
    """Write the files of one image, unless an earlier call has written them."""
    done = out / ".work" / f"{survey}-{band}-{tile}"
    if not done.exists():
        _write_image(out, sky, patch, survey, band, tile)
        with whole_file(done) as temporary:
            temporary.touch()


def _write_image(out: Path, sky: Table, patch: Patch, survey: str, band: str, tile: int) -> None:
    """Render one band of the run's strip, or of one tile, and write its files with and without noise."""
    rng = np.random.default_rng([patch.seed, 12, SIMULATED[survey].code - 1, OWN[survey].bands.index(band), tile])
    if survey in LAYOUTS:
        _write_coadd(out, sky, patch, survey, band, tile, rng)
    else:
        IMAGES[survey](out, sky, patch, band, tile, rng)


def _write_sdss(out: Path, sky: Table, patch: Patch, band: str, _: int, rng: np.random.Generator) -> None:
    """Write the frames and masks of the run's strip in one band."""
    exposure = sdss_exposure(band, patch)
    wcs = strip_wcs(*CENTRE, rng.normal(0, [4, 8]), rng.normal(0, 0.05), SDSS.pixel_scale)
    flux = render(sky, wcs, STRIP_SHAPE, exposure.psf, "sdss", band)
    write_frames(out / "truth", band, flux, wcs, exposure, patch.seed)
    seen = exposure.observe(flux, rng)
    write_frames(out, band, seen, wcs, exposure, patch.seed)
    write_masks(out, band, seen, exposure, patch.seed)


def _write_cfht(out: Path, sky: Table, patch: Patch, band: str, tile: int, rng: np.random.Generator) -> None:
    """Write the stack of one tile in one band."""
    exposure = draw_exposure("cfht", band, draw_night(rng), rng)
    shape = (patch.tile_size, patch.tile_size)
    wcs = _place_of_tile(patch, tile, CFHT.pixel_scale, patch.tile_size)
    flux = render(sky, wcs, shape, exposure.psf, "cfht", band)
    seen = covered(shape, rng)
    write_stack(out / "truth", band, np.where(seen, flux, np.nan), wcs, exposure, patch.seed)
    write_stack(out, band, np.where(seen, exposure.observe(flux, rng), np.nan), wcs, exposure, patch.seed)


IMAGES = {"sdss": _write_sdss, "cfht": _write_cfht}


def _write_coadd(out: Path, sky: Table, patch: Patch, survey: str, band: str, tile: int, rng) -> None:
    """Write the coadd of one tile in one band. Tiles lie where those of CFHTLS do."""
    exposure, row = draw_exposure(survey, band, draw_night(rng), rng), OWN[survey]
    size = round(patch.tile_size * CFHT.pixel_scale / row.pixel_scale)
    wcs = _place_of_tile(patch, tile, row.pixel_scale, size)
    flux = render(sky, wcs, (size, size), exposure.psf, survey, band)
    empty = ~covered((size, size), rng) if survey in WITH_GAPS else np.zeros((size, size), bool)
    seen = exposure.observe(flux, rng)
    saturated = seen >= np.float32(exposure.brightest)
    for root, pixels, noise in ((out / "truth", flux, False), (out, seen, True)):
        coadd = Coadd(row, band, tile, pixels, saturated, empty, wcs, exposure, noise, patch.seed)
        write_coadd(root / survey, coadd)
    if survey in FLAGS_OF_ALL_BANDS:
        with whole_file(_flags_path(out, survey, band, tile)) as temporary, temporary.open("wb") as file:
            np.save(file, saturated)


def _flags_path(out: Path, survey: str, band: str, tile: int) -> Path:
    """Return where saturated pixels wait for those of the other bands."""
    return out / ".work" / f"{survey}-{band}-{tile}.npy"


def _finish_sdss(out: Path, patch: Patch) -> None:
    """Write the files of the PSF."""
    exposures = {band: sdss_exposure(band, patch) for band in SDSS.bands}
    for root in (out, out / "truth"):
        write_psfields(root, exposures, SDSS.pixel_scale, patch.seed)


def _finish_legacy(out: Path, patch: Patch) -> None:
    """Write the flags of both bricks."""
    for tile in (0, 1):
        flags = {band: np.load(_flags_path(out, "legacy", band, tile)) for band in patch.bands["legacy"]}
        for root in (out, out / "truth"):
            write_maskbits(root / "legacy", tile, flags)


FINISHERS = {"sdss": _finish_sdss, "legacy": _finish_legacy}  # what is written of all bands of a survey together


def _place_of_tile(patch: Patch, tile: int, scale: float, size: int) -> WCS:
    """Return the WCS of a tile of `size` pixels of `scale` [arcsec]."""
    offset = (tile - 0.5) * (patch.tile_size - _overlap(patch.tile_size)) * CFHT.pixel_scale / 3600
    return tile_wcs(CENTRE[0] + offset / np.cos(np.radians(CENTRE[1])), CENTRE[1], size, scale)


def _overlap(tile_size: int) -> int:
    """Return how many columns of pixels both tiles share."""
    return min(TILE_OVERLAP, tile_size // 4)


def _half_extent(tile_size: int) -> tuple[float, float]:
    """Return half the width and half the height [arcsec] of the area for catalogued galaxies."""
    width = (2 * tile_size - _overlap(tile_size)) * CFHT.pixel_scale
    return width / 2 - EDGE, tile_size * CFHT.pixel_scale / 2 - EDGE


def _place(sources: Table, east, north) -> None:
    """Give sources the positions at these offsets [arcsec] from the centre of the patch."""
    sources["dec"] = CENTRE[1] + north / 3600
    sources["ra"] = CENTRE[0] + east / 3600 / np.cos(np.radians(sources["dec"]))
