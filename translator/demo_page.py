"""The page that `galtrans demo` ends with: held-out galaxies translated both ways, beside targets and truth."""

from pathlib import Path

import numpy as np
from astropy.table import Table

from survey_tools.band_fits import read_bands
from survey_tools.cutout import sky_sigma
from survey_tools.export import file_name
from survey_tools.photometry import nanomaggies_to_magnitude
from survey_tools.store import Store, open_store
from survey_tools.surveys import SURVEYS
from translator.gallery import Galaxy, Panel, draw_page
from translator.watch import read_losses

APERTURE = 5.0  # radius [arcsec] in which the flux of translation and target is compared
ROW = {"sdss": "x_row", "cfht": "y_row"}  # column of the pair table with a survey's row


def held_out_pairs(out: Path) -> Table:
    """The test rows of OUT/pairs.ecsv whose images have every pixel in both surveys."""
    pairs = Table.read(out / "pairs.ecsv")
    whole = [open_store(out / f"{name}.zarr").usable[pairs[row]] for name, row in ROW.items()]
    return pairs[(pairs["split"] == "test") & whole[0] & whole[1]]


def draw_demo_page(out: Path, held_out: Table, shown: tuple[int, int]) -> list[str]:
    """Draw OUT/demo.png from what the demo left in `out`; returns lines with flux and noise ratios per band.

    `held_out` has the test rows of the pair table; OUT/truth_SURVEY.zarr has their noise-free images in that order.
    """
    stores = {name: open_store(out / f"{name}.zarr") for name in ROW}
    truth = {name: open_store(out / f"truth_{name}.zarr") for name in ROW}
    blocks, figures = {}, []
    for (source, target), count in zip((("sdss", "cfht"), ("cfht", "sdss")), shown, strict=True):
        translated = [_translated(out, stores[source], row, target) for row in held_out[ROW[source]]]
        targets = [stores[target].images[int(row)] for row in held_out[ROW[target]]]
        heading = f"{SURVEYS[source].title} to {SURVEYS[target].title}"
        figures += _figures(heading, stores[target], translated, targets)
        blocks[heading] = [
            _galaxy(stores[source], stores[target], truth[target], held_out[i], i, translated[i])
            for i in _spread(targets, stores[target], count)
        ]
    draw_page(out / "demo.png", blocks, read_losses(out / "run"))
    return figures


def _translated(out: Path, source: Store, row: int, target: str) -> np.ndarray:
    """The translation (band, row, col) [nanomaggy/pixel] of one row of a store."""
    name = file_name(int(row), source.column("object_id")[row])
    bands, _ = read_bands(out / "translated" / target / f"{name.removesuffix('.fits')}_{target}.fits", source.bands)
    return np.stack([band.image for band in bands])


def _galaxy(source: Store, target: Store, truth: Store, pair, index: int, translated: np.ndarray) -> Galaxy:
    """The panels of one held-out pair."""
    source_name, target_name = source.survey["name"], target.survey["name"]
    original = source.images[int(pair[ROW[source_name]])]
    wanted = target.images[int(pair[ROW[target_name]])]
    panels = (
        Panel(f"{source.survey['title']} original", original, source.bands, source.pixel_scale),
        Panel("translated", translated, target.bands, target.pixel_scale),
        Panel(f"{target.survey['title']} target", wanted, target.bands, target.pixel_scale),
        Panel("noise-free truth", truth.images[index], target.bands, target.pixel_scale),
    )
    magnitude = nanomaggies_to_magnitude(_flux(target, wanted)[target.bands.index("r")])
    return Galaxy(f"r = {magnitude:.1f}", panels)


def _spread(targets: list[np.ndarray], store: Store, count: int) -> list[int]:
    """`count` galaxies evenly spread in brightness, brightest first: nobody picked them."""
    order = np.argsort([-_flux(store, image)[store.bands.index("r")] for image in targets])
    return [int(order[i]) for i in np.linspace(0, len(order) - 1, count).round().astype(int)]


def _flux(store: Store, image: np.ndarray) -> np.ndarray:
    """Flux (band,) [nanomaggy] within `APERTURE` of the centre; missing pixels count nothing."""
    row, col = np.indices(image.shape[1:]) - (store.size - 1) / 2
    return np.nansum(np.where(np.hypot(row, col) * store.pixel_scale < APERTURE, image, 0), axis=(1, 2))


def _figures(heading: str, store: Store, translated: list[np.ndarray], targets: list[np.ndarray]) -> list[str]:
    """Two lines: median over galaxies of the ratio of flux, and of the noise of blank sky, in each band."""

    def noise(image: np.ndarray) -> np.ndarray:
        return np.array([sky_sigma(band, ~np.isfinite(band)) for band in image])

    pairs = list(zip(translated, targets, strict=True))
    ratios = {
        "flux ": [_flux(store, ours) / _flux(store, theirs) for ours, theirs in pairs],
        "noise": [noise(ours) / noise(theirs) for ours, theirs in pairs],
    }
    return [
        f"{heading:15} {name}  "
        + "  ".join(f"{b} {m:5.2f}" for b, m in zip(store.bands, np.nanmedian(r, axis=0), strict=True))
        for name, r in ratios.items()
    ]
