"""Translate one observation by a run that reads any image, and make the HDUs of the result."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from survey_tools.errors import ImageError
from survey_tools.fits.band_fits import band_hdus, mask_hdu
from survey_tools.images.sky_wcs import (
    centre_of,
    grid_cards,
    local_scale,
    north_up_wcs,
    read_wcs,
    rescaled_wcs,
    tan_terms,
)
from survey_tools.progress import Progress
from translator.images import OTHER
from translator.runs.apply import noise_seed
from translator.runs.checkpoint import Run
from translator.translation.asking import How, read_pattern
from translator.translation.observation import SCALE_TOLERANCE, USUAL, Observation, as_wcs, reading_fits
from translator.translation.other_grid import OtherGrid
from translator.translation.whole_images import RequestedImage, SkyGrid, Whole, tile_count, translate_whole

DOUBTFUL = 1.5  # χ² per pixel above which an input is unlike those that the run knows
LARGE = 1_000_000  # pixels above which only one image is translated at a time, because of its memory
SYNTHETIC = "made by a neural network: NOT an observation"
MANY_TILES = 4  # tiles above which a progress bar is shown
WIDELY = 3.0  # half width of the range of a survey's noise [standard deviations of its logarithm]


@dataclass(frozen=True)
class Translated:
    """The translation of an observation.

    Attributes
    ----------
    observation : Observation
        The input.
    asked : RequestedImage
        What was asked.
    whole : Whole
        The result.
    flags : tuple of str
        What a user should know: "inconsistent", "seeing unknown", "beyond training".
    notes : tuple of str
        A line on each flag.
    other : OtherGrid or None
        The grid that the result was resampled onto, if the model does not translate onto it.
    """

    observation: Observation
    asked: RequestedImage
    whole: Whole
    flags: tuple[str, ...]
    notes: tuple[str, ...]
    other: OtherGrid | None = None

    @property
    def worst(self) -> float:
        """The largest χ² per pixel of the bands; NaN for translations into the poorer survey."""
        values = self.whole.consistency[self.observation.bands]
        return float(np.nanmax(values)) if np.isfinite(values).any() else np.nan


def translate_observation(run: Run, observation: Observation, domain: str, how: How) -> Translated:
    """Translate one observation as a user asks.

    Parameters
    ----------
    run : Run
        A run of a recipe that reads any image.
    observation : Observation
        The input.
    domain : str
        "x" or "y", where the translation lands.
    how : How
        What is asked.

    Raises
    ------
    ImageError
        If what is asked lies outside the observation, or has another number of bands.
    """
    asked, other = _asked(run, observation, domain, how)
    factor = np.ones(len(run.bands))
    if other is not None:
        factor = other.noise_factor(run.networks[f"survey_{domain}"])
        asked = replace(asked, sigma=asked.sigma / factor)
    tiles = tile_count(asked.grid.shape)
    bar = Progress(tiles, observation.name, "tile") if tiles > MANY_TILES else nullcontext()
    with bar as shown:
        whole = translate_whole(
            run,
            observation.images,
            observation.grid,
            observation.known,
            asked,
            precision=how.precision,
            done=_telling(shown),
        )
    flags, notes = _remarks(run, observation, domain, asked, whole)
    if other is not None:
        whole = _carried(whole, other, factor)
    if not np.isfinite(whole.image[observation.bands]).any():
        raise ImageError(f"{observation.paths[0]}: it shows nothing of what is asked for, or too little of it")
    asked = replace(asked, seeing=seeing_of(run, domain, asked.seeing))
    return Translated(observation, asked, whole, flags, notes, other)


def _carried(whole: Whole, other: OtherGrid, factor: np.ndarray) -> Whole:
    """Return a translation on another grid; the noise of a pixel changes by `factor` (band,)."""
    sigma = None
    if whole.spread is not None:
        sigma = np.sqrt(whole.spread + other.variance(whole.noise, factor)).astype(np.float32)
    return replace(
        whole,
        image=other.flux(whole.image),
        signal=None if whole.signal is None else other.flux(whole.signal),
        sigma=sigma,
        draws=[other.flux(draw) for draw in whole.draws],
        noise_sigma=whole.noise_sigma * factor,
    )


def seeing_of(run: Run, domain: str, asked: np.ndarray) -> np.ndarray:
    """Return the seeing (band,) [arcsec] of translations: what is asked, or else the usual one of the survey."""
    return np.where(np.isfinite(asked), asked, run.networks[f"survey_{domain}"].psf_fwhm.cpu().numpy())


def _telling(progress: Progress | None) -> Callable[[int, int], None]:
    """Return the function that reports the progress of each tile."""
    return (lambda at, of: None) if progress is None else progress.reach


def _asked(run: Run, observation: Observation, domain: str, how: How) -> tuple[RequestedImage, OtherGrid | None]:
    """Return what a user asks in terms of a run, and the grid of the result if the model cannot translate onto it."""
    there, bands = run.domains[domain], run.bands
    seeing, sigma = each_band(how.seeing, bands, "--seeing"), np.full(len(bands), np.nan)
    grid, other = _grid(run, observation, domain, how), None
    if how.like is not None:
        with reading_fits:
            pattern = read_pattern(how.like, bands)
        grid = pattern.grid
        if grid is None or abs(grid.pixel_scale / there.pixel_scale - 1) > SCALE_TOLERANCE:
            try:
                other = OtherGrid.over(
                    pattern.wcs, pattern.shape, pattern.cards, there.pixel_scale, within=observation.grid
                )
            except ValueError as error:
                raise ImageError(f"{how.like}: no translation can be made on its grid: {error}") from error
            grid = other.beneath
        seeing = np.where(np.isfinite(seeing), seeing, pattern.seeing)
        sigma = pattern.sigma
    if how.depth is not None:
        scale = grid.pixel_scale if other is None else local_scale(other.wcs, other.shape)
        sigma = each_band(tuple(each.sigma(scale) for each in how.depth), bands, "--depth")
    asked = RequestedImage(
        domain=domain,
        grid=grid,
        seeing=seeing,
        sigma=sigma,
        gain=np.full(len(bands), np.nan),
        noise=how.noise,
        draws=how.draws,
        spread=how.planes,
        seed=noise_seed(how.seed, observation.checksum),
        carry=None if other is None else other.flux,
    )
    return asked, other


def each_band(values: tuple[float, ...] | None, bands: tuple[str, ...], option: str) -> np.ndarray:
    """Return values (band,) from one number for all bands or one for each; NaN if nothing is asked."""
    if values is None:
        return np.full(len(bands), np.nan)
    if len(values) not in (1, len(bands)):
        raise ImageError(
            f"{option} has {len(values)} numbers, and the run has bands {''.join(bands)}: give one number, or "
            f"{len(bands)}"
        )
    return np.broadcast_to(np.array(values, float), len(bands)).copy()


def _grid(run: Run, observation: Observation, domain: str, how: How) -> SkyGrid:
    """Return the grid of a translation: the same sky as the input, or a part of it."""
    here, there = run.domains[OTHER[domain]], run.domains[domain]
    wcs, shape = as_wcs(observation.grid), observation.grid.shape
    if how.at is None:
        if shape == (here.size, here.size):
            size = (there.size, there.size)
        else:
            size = tuple(max(1, round(side * observation.grid.pixel_scale / there.pixel_scale)) for side in shape)
        return SkyGrid(*tan_terms(rescaled_wcs(wcs, shape, there.pixel_scale, size)), size)
    side = there.size if how.size is None else max(1, round(how.size / there.pixel_scale))
    return SkyGrid(*tan_terms(north_up_wcs(*how.at, there.pixel_scale, side)), (side, side))


def _remarks(
    run: Run, observation: Observation, domain: str, asked: RequestedImage, whole: Whole
) -> tuple[tuple, tuple]:
    """Return flags, and a line on each, if the run does not suit the input or what is asked."""
    flags, notes = [], []
    here, there = run.domains[OTHER[domain]], run.domains[domain]
    if observation.origin["psf_fwhm"] == USUAL:
        flags.append("seeing unknown")
        usual = np.median(run.networks[f"survey_{OTHER[domain]}"].psf_fwhm.cpu().numpy())
        notes.append(f'its seeing is not known; the usual one of the survey is assumed ({usual:.2f}")')
    beyond = []
    for word, values, domain_of in (
        ("its seeing", observation.known["psf_fwhm"], here),
        ("--seeing", asked.seeing, there),
    ):
        if domain_of.psf_range:
            least, most = np.reshape(domain_of.psf_range, (2, -1))
            beyond += _beyond(word, "arcsec", values, least, most, run.bands)
    for word, values, of in (
        ("its noise", observation.known["sky_sigma"], OTHER[domain]),
        ("--depth", asked.sigma, domain),
    ):
        survey = run.networks[f"survey_{of}"]
        middle, spread = survey.log_sigma.cpu().numpy(), survey.spread.cpu().numpy()
        width = WIDELY * np.sqrt((spread**2).sum(axis=1))
        beyond += _beyond(word, "nanomaggy", values, np.exp(middle - width), np.exp(middle + width), run.bands)
    if beyond:
        flags.append("beyond training")
        notes += beyond
    values = np.where(observation.bands, whole.consistency, np.nan)
    if np.isfinite(values).any() and np.nanmax(values) > DOUBTFUL:
        band = int(np.nanargmax(values))
        flags.append("inconsistent")
        notes.append(
            f"CONSIST = {values[band]:.2f} in band {run.bands[band]}: the translation, observed again like the input, "
            f"differs from the input (about 1 is right, above {DOUBTFUL} is not); possible reasons are saturated "
            "stars, artefacts or another telescope"
        )
    return tuple(flags), tuple(notes)


def _beyond(word: str, unit: str, values, least, most, bands) -> list[str]:
    """Return a line if values (band,) are outside a range."""
    outside = np.flatnonzero((values < least) | (values > most))
    if not len(outside):
        return []
    band = outside[0]
    return [
        f"{word} of {values[band]:.3g} {unit} in band {bands[band]} is beyond what the model was trained for "
        f"({least[band]:.3g} to {most[band]:.3g})"
    ]


def translated_hdus(made: Translated, run: Run, primary: fits.Header, *, planes: bool) -> fits.HDUList:
    """Return the HDUs of a translation: one image HDU a band, its mask, and the planes and draws that were asked for.

    The caller holds `reading_fits`.

    Parameters
    ----------
    made : Translated
        The translation.
    run : Run
        The model that made it.
    primary : astropy.io.fits.Header
        The header of the primary HDU, as `files.primary_header` makes it; it is completed in place.
    planes : bool
        Whether SIGNAL_r and SIGMA_r follow band r. MASK_r always does.
    """
    observation, asked, whole = made.observation, made.asked, made.whole
    places = np.flatnonzero(observation.bands)
    names = [run.bands[place] for place in places]
    if np.isfinite(made.worst):
        primary["CONSIST"] = (round(made.worst, 4), "chi2 a pixel of the input: 1 is right")
    primary["GTFLAGS"] = ", ".join(made.flags) or "none"  # no comment fits beside all of them
    if made.other is not None:
        scale = asked.grid.pixel_scale
        primary.add_history(
            f"Translated onto pixels of {scale:.3f} arcsec and resampled onto these, so that the noise of neighbouring "
            "pixels is not correlated as that of the survey; SKYSIGMA and SIGMA are those of these pixels."
        )
    hdus = band_hdus(whole.image[places], names, as_wcs(asked.grid), primary)
    if made.other is not None:
        for hdu in hdus[1:]:
            _state_grid(hdu.header, made.other)
    every = [hdus[0]]
    for place, hdu in zip(places, hdus[1:], strict=True):
        _state(hdu.header, made, place)
        every.append(hdu)
        if planes:
            every += [_plane(hdu, "SIGNAL", whole.signal[place]), _plane(hdu, "SIGMA", whole.sigma[place])]
        missing = ~np.isfinite(whole.image[place])
        every.append(mask_hdu(missing, hdu.header, "1 where a pixel rests on too little of the input"))
        if asked.draws:
            every.append(_plane(hdu, "DRAWS", np.stack([each[place] for each in whole.draws])))
    return fits.HDUList(every)


def _state_grid(header: fits.Header, other: OtherGrid) -> None:
    """Replace the cards of the model's grid in a header by those of another grid."""
    for keyword in {card.keyword for card in grid_cards(header) if not card.keyword.startswith("NAXIS")}:
        del header[keyword]
    header.extend(other.cards, end=True)


def _state(header: fits.Header, made: Translated, place: int) -> None:
    """Write into the header of a band its seeing, noise and input."""
    observation, asked, whole = made.observation, made.asked, made.whole
    header["PSFFWHM"] = (round(float(asked.seeing[place]), 4), "[arcsec] seeing that it imitates")
    if asked.noise:
        header["SKYSIGMA"] = (float(whole.noise_sigma[place]), "[nanomaggy] standard deviation of empty sky")
    for name, keyword, comment in (
        ("psf_fwhm", "PSFIN", "[arcsec] seeing of the input"),
        ("sky_sigma", "SKYIN", "[nanomaggy] noise of the input's sky"),
    ):
        value = observation.known[name][place]
        origin = observation.origin[name] if np.isfinite(value) else USUAL
        if np.isfinite(value):
            header[keyword] = (round(float(value), 6), comment)
        header[f"{keyword}BY"] = (origin, f"where {keyword} is from")
    if np.isfinite(whole.consistency[place]):
        header["CONSIST"] = (round(float(whole.consistency[place]), 4), "chi2 a pixel of the input")


def _plane(hdu: fits.ImageHDU, kind: str, image: np.ndarray) -> fits.ImageHDU:
    """Return an HDU that belongs to that of a band."""
    name = f"{kind}_{hdu.header['EXTNAME']}"
    made = fits.ImageHDU(image, hdu.header.copy())
    made.header["EXTNAME"] = name
    del made.header["FILTER"]
    return made


def place_of(wcs: WCS, shape: tuple[int, int]) -> dict[str, float]:
    """Return the centre of an image [deg, ICRS], for tables."""
    ra, dec = centre_of(wcs, shape)
    return {"ra": round(float(ra), 6), "dec": round(float(dec), 6)}


def row_of(made: Translated, run: Run, out: Path) -> dict[str, object]:
    """Return the row of one translation in the table of a command."""
    observation, grid = made.observation, made.asked.grid
    some = observation.bands
    return {
        "file": observation.name,
        "output": out.name,
        **place_of(*((as_wcs(grid), grid.shape) if made.other is None else (made.other.wcs, made.other.shape))),
        "bands": "".join(band for band, is_there in zip(run.bands, some, strict=True) if is_there),
        "psf_fwhm_in": _middle(observation.known["psf_fwhm"][some]),
        "psf_fwhm_from": observation.origin["psf_fwhm"],
        "psf_fwhm": _middle(made.asked.seeing[some]),
        "consistency": round(made.worst, 4) if np.isfinite(made.worst) else np.nan,
        "flags": ", ".join(made.flags),
    }


def _middle(values) -> float:
    """Return the median of the known numbers, for tables; NaN if none is known."""
    known = np.array(values, float)[np.isfinite(np.array(values, float))]
    return round(float(np.median(known)), 4) if len(known) else np.nan


def row_of_file(name: str, out: Path) -> dict[str, object]:
    """Return the row in the table of a command for a translation that was written before, from its headers.

    Parameters
    ----------
    name : str
        Name of the file that was translated.
    out : Path
        Its translation.
    """
    with reading_fits, fits.open(out) as hdus:
        primary = hdus[0].header
        bands = [hdu for hdu in hdus[1:] if "FILTER" in hdu.header and hdu.header["NAXIS"] == 2]
        shape, wcs = bands[0].shape, read_wcs(bands[0].header)
        row = {"file": name, "output": out.name, **place_of(wcs, shape)}
        row["bands"] = "".join(str(hdu.header["FILTER"]) for hdu in bands)
        if "GTFLAGS" in primary:  # of a recipe that is told what is known of images
            row["psf_fwhm_in"] = _middle([hdu.header.get("PSFIN", np.nan) for hdu in bands])
            row["psf_fwhm_from"] = str(bands[0].header.get("PSFINBY", ""))
            row["psf_fwhm"] = _middle([hdu.header.get("PSFFWHM", np.nan) for hdu in bands])
            row["consistency"] = float(primary.get("CONSIST", np.nan))
        row["flags"] = str(primary.get("GTFLAGS", "none")).replace("none", "")
    return row
