"""Make the pictures of docs/explanation/gallery.md: real inputs, good and bad, and their translations.

    python benchmarks/gallery.py --data DATA --out docs/explanation/gallery

DATA has the SDSS frames of run 7264, camcol 3, field 111, laid out as on the Science Archive Server, and the folder
`cfht` with T0007 cutouts CFHTLS-test_g.fits, _r and _i. Each picture shows the input, the translation and five times
its standard deviation, at one stretch, with CONSIST and the flags in its title; the same numbers go into gallery.ecsv.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
from astropy.table import Table
from PIL import Image

from survey_tools.images.cutout import resample
from translator.images import OTHER
from translator.report.panels import Panel, coloured
from translator.runs.built_in import find_model
from translator.runs.checkpoint import Run, load_run
from translator.translation.asking import How
from translator.translation.observation import Observation, as_wcs, read_observation
from translator.translation.preview import TIMES, side_by_side
from translator.translation.translated import Translated, translate_observation

SIDE = 272  # pixels of a panel
STRETCH = 1.0  # as the pictures of galtrans have it, but for faint galaxies [nanomaggy/arcsec^2]
SEEING = 0.7  # of the translations into CFHTLS [arcsec]
FRAMES = "sas/dr12/boss/photoObj/frames/301/7264/3"


@dataclass(frozen=True)
class Case:
    """One picture.

    Attributes
    ----------
    name : str
        Of its file.
    place : tuple of float
        Right ascension and declination [deg].
    files : str
        Of the data: "frames" or "stacks".
    domain : str
        "x" or "y", where the translation lands.
    bands : str
        Bands to read.
    stated_seeing : float
        The seeing that is stated of the input in all bands [arcsec]; NaN leaves what the stars say.
    times : float
        By what the flux is wrong.
    """

    name: str
    place: tuple[float, float]
    files: str = "frames"
    domain: str = "y"
    bands: str = "ugriz"
    stated_seeing: float = np.nan
    times: float = 1.0


GALAXY = (38.57159, -7.09912)
W3_GALAXY = (215.53882, 52.78098)
CASES = (
    Case("disc", GALAXY),
    Case("edge_on", (38.62781, -7.06985)),
    Case("irregular", (38.62705, -7.03109)),
    Case("elliptical", (38.68309, -7.07805)),
    Case("faint", (38.51020, -7.02791)),
    Case("r_alone", GALAXY, bands="r"),
    Case("blend", (38.69696, -7.07956)),
    Case("spike", (38.56625, -7.09122)),
    Case("bright_star", (38.63164, -6.99818)),
    Case("saturated_star", (38.57078, -7.09054)),
    Case("edge", (38.66018, -7.11691)),
    Case("wrong_seeing", GALAXY, stated_seeing=2.0),
    Case("wrong_unit", GALAXY, times=10.0),
    Case("wrong_telescope", W3_GALAXY, files="stacks", bands="gri"),
    Case("cfhtls_to_sdss", W3_GALAXY, files="stacks", domain="x", bands="gri"),
)


def panel(images: np.ndarray, bands, pixel_scale: float) -> Image.Image:
    """(band, row, col) [nanomaggy/pixel] in colour."""
    rgb = coloured(Panel("", images, bands, pixel_scale), STRETCH)
    return Image.fromarray(np.ascontiguousarray(rgb[::-1])).resize((SIDE, SIDE), Image.Resampling.NEAREST)


def observed(case: Case, run: Run, data: Path) -> Observation:
    """What is to be translated, as `galtrans translate --at` reads it."""
    folder, pattern = (FRAMES, "frame-[{}]-*.fits*") if case.files == "frames" else ("cfht", "CFHTLS-test_[{}].fits")
    paths = tuple(sorted((data / folder).glob(pattern.format(case.bands))))
    found = read_observation(paths, run.bands, run.domains[OTHER[case.domain]], How(at=case.place, force=True))
    known = dict(found.known)
    if np.isfinite(case.stated_seeing):
        known["psf_fwhm"] = np.full(len(found.bands), case.stated_seeing, known["psf_fwhm"].dtype)
    known["sky_sigma"] = known["sky_sigma"] * case.times
    return replace(found, images=found.images * np.float32(case.times), known=known)


def picture(made: Translated, run: Run) -> Image.Image:
    """Input, translation and standard deviation, side by side."""
    observation, grid = made.observation, made.asked.grid
    there = observation.bands
    bands = tuple(band for band, is_there in zip(run.bands, there, strict=True) if is_there)
    seen = np.stack(
        [resample(i, as_wcs(observation.grid), as_wcs(grid), grid.shape) for i in observation.images[there]]
    )
    titles = [run.domains[each].survey.upper() for each in (OTHER[made.asked.domain], made.asked.domain)]
    consist = f"CONSIST {made.worst:.2f}" if np.isfinite(made.worst) else "no CONSIST"
    return side_by_side(
        [
            (f"input, read as {titles[0]}", panel(seen, bands, grid.pixel_scale)),
            (f"as {titles[1]} (synthetic): {consist}", panel(made.whole.image[there], bands, grid.pixel_scale)),
            (f"standard deviation, {TIMES} times", panel(TIMES * made.whole.sigma[there], bands, grid.pixel_scale)),
        ]
    )


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True, help="Folder with real files.")
@click.option("--model", default="sdss-cfhtls", show_default=True, help="Built-in model.")
@click.option("--only", multiple=True, help="Names of pictures to make; by default all.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the pictures.")
def main(data: Path, model: str, only: tuple[str, ...], out: Path) -> None:
    """Translate each case and write its picture."""
    run, rows = load_run(find_model(model), "cpu"), []
    out.mkdir(parents=True, exist_ok=True)
    for case in CASES:
        if only and case.name not in only:
            continue
        observation = observed(case, run, data)
        how = How(at=case.place, seeing=(SEEING,) if case.domain == "y" else None, planes=True, force=True)
        made = translate_observation(run, observation, case.domain, how)
        picture(made, run).save(out / f"{case.name}.png", optimize=True)
        consist = {
            f"consist_{band}": round(float(value), 2)
            for band, value in zip(run.bands, made.whole.consistency, strict=True)
        }
        rows.append(
            {"name": case.name, "ra": case.place[0], "dec": case.place[1], "flags": ", ".join(made.flags), **consist}
        )
        print(rows[-1], (out / f"{case.name}.png").stat().st_size)
    if not only:
        Table(rows=rows).write(out / "gallery.ecsv", overwrite=True)


if __name__ == "__main__":
    sys.exit(main())
