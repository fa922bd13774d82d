"""How well a run gives back real CFHTLS light that its own operator has degraded to SDSS: a closure test.

    python benchmarks/closure.py --stacks STACKS --run RUN --sky bench --out closure

STACKS has real T0007 stacks, `CFHTLS-test_g.fits` and so on, one file a band on one grid. Each bright object that lies
far enough from the edges and from saturated stars is cut out, observed by the run's operator with SDSS's usual seeing
on a grid that is shifted by a random part of a pixel, and given SDSS noise. The run then translates it back, without
the bands that have no stack, and its signal is compared with the stack itself, beside bilinear interpolation and the
Wiener filter. This tests the restoration on real galaxies. It does not test the operator, because the same operator has
made the input.

The residual of a band is √(max(Σ(s − y)² − N σ², 0) / (Σy² − N σ²)), over the N pixels within `REACH` of the object
that no saturated star has spoiled; s is the signal, y the stack and σ the noise of the stack's blank sky. Photon noise
of the stack is not taken off and counts as residual, and so does all noise that a method lets through. Δm is the
magnitude of the signal less that of the stack, within `APERTURE`. The operator mixes bands, as the filters of both
surveys differ. Only the run undoes this: bilinear interpolation and the Wiener filter keep the colours of SDSS, which
shifts their magnitudes.
"""

import json
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import click
import matplotlib
import numpy as np
import sep
import torch
from astropy.io import fits
from scipy.ndimage import distance_transform_edt

from survey_tools import open_store
from survey_tools.archives.cfht.archive import calibrate
from survey_tools.archives.tiles import window
from survey_tools.errors import GaltransError
from survey_tools.images.cutout import sky_sigma
from survey_tools.images.sky_wcs import read_wcs, tan_terms
from survey_tools.photometry import counts_to_nanomaggies, nanomaggies_per_count, nanomaggies_to_magnitude
from survey_tools.surveys import CFHT
from translator.data.reading import read_rows
from translator.evaluation.seen import has_operator
from translator.evaluation.wiener import FilterConditions, Spectrum, by_seeing, learn_spectrum, restored
from translator.images import Known
from translator.networks.observation_operator import ObservationOperator, sample
from translator.observing import observe
from translator.report.panels import Panel, coloured
from translator.runs.apply import Request, noise_seed, resampled, translate_each
from translator.runs.checkpoint import Run, load_run

FOUND_IN = "r"  # band in which objects are found and their magnitudes are measured
APERTURE = 2.0  # radius within which fluxes are compared [arcsec]
REACH = 8.0  # radius within which images are compared; saturated stars are at least so far away [arcsec]
SPOILED = 4.0  # distance from saturated pixels up to which a star spoils others [arcsec]
SAME_GRID = 1e-9  # to which the terms of two WCSs agree on one grid [deg, pixel, deg/pixel]
RINGING = 20.0  # noises below the sky, from which on a pixel counts as saturated: the ringing of the resampling
THRESHOLD, LEAST_AREA = 1.5, 8  # noises, and pixels, of a source
STELLAR = 0.7  # half-light radius over the seeing, below which an object counts as a star
EDGES = (18.0, 19.5, 21.0)  # between bins of magnitude
TAUGHT = 128  # galaxies of a sky from which the Wiener filter learns
SHOWN = 4  # objects of the picture
METHODS = ("restored", "bilinear", "wiener")


@dataclass(frozen=True)
class Stacks:
    """Real stacks of some bands on one grid.

    Attributes:
        bands: That have a stack.
        images: (band, row, col) [nanomaggy/pixel].
        sigma: Noise of a pixel of blank sky (band,) [nanomaggy/pixel].
        seeing: Full width at half maximum of stars, as headers state it (band,) [arcsec]; NaN where they do not.
        gain: (band,) [electron/nanomaggy], alike.
        distance: From each pixel to the nearest one that is saturated or missing (row, col) [arcsec].
    """

    bands: tuple[str, ...]
    images: np.ndarray
    sigma: np.ndarray
    seeing: np.ndarray
    gain: np.ndarray
    distance: np.ndarray


@dataclass(frozen=True)
class Objects:
    """Objects of the stacks, the brightest first.

    Attributes:
        place: Row and column in the stacks (object, 2).
        start: Row and column of the first pixel of their cutouts (object, 2).
        magnitude: Within `APERTURE`, in `FOUND_IN` (object,) [AB mag].
        star: Whether each looks like a star (object,).
    """

    place: np.ndarray
    start: np.ndarray
    magnitude: np.ndarray
    star: np.ndarray


@dataclass(frozen=True)
class Closure:
    """Objects as the poorer survey would have seen them, each several times, beside the stacks' cutouts of them.

    Images have all bands of the run, and NaN in those without a stack.

    Attributes:
        source: Index of the object (image,).
        middle: Row and column of the object in its cutout (image, 2).
        target: The stacks' cutouts (image, band, row, col) [nanomaggy/pixel].
        clean: Which pixels of the cutouts no saturated star spoils (image, row, col).
        observed: (image, band, row, col) [nanomaggy/pixel].
        request: What is told of the observations, and asked of their translations.
        sigma: Noise of a blank pixel of the observations (image, band) [nanomaggy/pixel].
    """

    source: np.ndarray
    middle: np.ndarray
    target: np.ndarray
    clean: np.ndarray
    observed: np.ndarray
    request: Request
    sigma: np.ndarray


def read_stacks(folder: Path, name: str, bands: tuple[str, ...], pixel_scale: float) -> Stacks:
    """The stacks of a folder, calibrated to nanomaggies by their headers.

    Args:
        folder: Where the files are.
        name: Of a file, with {band} in the place of its band.
        bands: That are looked for; some may be missing.
        pixel_scale: [arcsec/pixel].

    Raises:
        click.ClickException: No stack of `FOUND_IN` is there, or the stacks have different grids.
    """
    paths = {band: folder / name.format(band=band) for band in bands}
    paths = {band: path for band, path in paths.items() if path.is_file()}
    if FOUND_IN not in paths:
        wanted = name.format(band=FOUND_IN)
        raise click.ClickException(f"{folder} has no {wanted}, in which objects are found; give another --stacks")
    files = {band: fits.getdata(path, header=True) for band, path in paths.items()}
    first = files[FOUND_IN]
    for band, (counts, header) in files.items():
        if counts.shape != first[0].shape or not on_one_grid(header, first[1]):
            raise click.ClickException(f"{paths[band]} is on another grid than {paths[FOUND_IN]}; resample it first")
    read = [calibrated(paths[band].name, *files[band]) for band in paths]
    images, sigma, seeing, gain, spoiled = (np.array(each) for each in zip(*read, strict=True))
    anywhere = spoiled.any(axis=0)
    distance = distance_transform_edt(~anywhere) if anywhere.any() else np.full(anywhere.shape, np.inf)
    return Stacks(tuple(paths), images, sigma, seeing, gain, distance * pixel_scale)


def on_one_grid(*headers: fits.Header) -> bool:
    """Whether the WCSs of two headers are the same, or both have none."""
    found = [read_wcs(header) for header in headers]
    if None in found:
        return found == [None, None]
    terms = (np.concatenate([np.ravel(term) for term in tan_terms(wcs)]) for wcs in found)
    return np.allclose(*terms, rtol=0, atol=SAME_GRID)


def calibrated(name: str, counts: np.ndarray, header: fits.Header) -> tuple:
    """Image (row, col) [nanomaggy/pixel], noise, seeing and gain of a stack, and which pixels are of no use."""
    known = calibrate("MZP_AB", name, header)
    missing = ~np.isfinite(counts) | (counts == CFHT.no_data)
    image = counts_to_nanomaggies(np.where(missing, np.nan, counts), known.zero_point).astype(np.float32)
    sigma = sky_sigma(image, missing)
    spoiled = missing | (counts >= known.saturation) | (image < -RINGING * sigma)
    return image, sigma, known.psf_fwhm, known.gain / nanomaggies_per_count(known.zero_point), spoiled


def find_objects(stacks: Stacks, size: int, pixel_scale: float, faintest: float, most: int) -> Objects:
    """The brightest objects whose cutouts the stacks cover whole and that lie far from saturated stars.

    Args:
        stacks: Where they are looked for.
        size: Rows, and columns, of cutouts.
        pixel_scale: [arcsec/pixel].
        faintest: Magnitude of the faintest object that is taken.
        most: Number of objects at most.
    """
    band = stacks.bands.index(FOUND_IN)
    image = np.ascontiguousarray(stacks.images[band])
    found = sep.extract(image, THRESHOLD, err=float(stacks.sigma[band]), minarea=LEAST_AREA)
    place = np.column_stack([found["y"], found["x"]])
    flux = sep.sum_circle(image, found["x"], found["y"], APERTURE / pixel_scale)[0]
    magnitude = nanomaggies_to_magnitude(flux)
    radius, _ = sep.flux_radius(image, found["x"], found["y"], np.full(len(found), REACH / pixel_scale / 2), 0.5)
    start = np.floor(place - (size - 1) / 2 + 0.5).astype(int)
    whole = ((start >= 0) & (start + size <= image.shape)).all(axis=1)
    near = stacks.distance[tuple(np.rint(place).astype(int).T)] < REACH
    chosen = np.flatnonzero(whole & ~near & (magnitude < faintest))
    chosen = chosen[np.argsort(magnitude[chosen])][:most]
    if not len(chosen):
        raise click.ClickException(
            f"no object brighter than {faintest:g} mag lies far enough from edges and saturated stars; give a larger "
            "--faintest, or larger stacks"
        )
    star = radius * pixel_scale < STELLAR * stacks.seeing[band]
    return Objects(place[chosen], start[chosen], magnitude[chosen], star[chosen])


def degrade(run: Run, stacks: Stacks, objects: Objects, repeats: int, seed: int) -> Closure:
    """Every object as the poorer survey would see it, `repeats` times, each with its own noise and its own grid."""
    here, there = run.domains["x"], run.domains["y"]
    source = np.repeat(np.arange(len(objects.start)), repeats)
    cut = [cutouts(stacks, there.bands, start, there.size) for start in objects.start]
    target, clean = (np.stack(each)[source] for each in zip(*cut, strict=True))
    survey = run.networks["survey_x"]
    ratio, random = here.pixel_scale / there.pixel_scale, np.random.default_rng(seed)
    alignment = np.zeros((len(source), 2, 3), np.float32)
    alignment[:, [0, 1], [0, 1]] = ratio
    alignment[:, :, 2] = ratio * random.uniform(-0.5, 0.5, (len(source), 2))
    count = len(source), 1
    sigma = np.exp(survey.log_sigma.numpy())
    there_is = np.isin(there.bands, stacks.bands)
    request = Request(
        psf_fwhm=np.tile(survey.psf_fwhm.numpy(), count),
        sky_sigma=np.tile(sigma / survey.sigma_ratio.numpy(), count),
        gain=np.tile(survey.gain.numpy(), count),
        seeing=np.tile(spread_out(stacks.seeing, stacks.bands, there.bands), count),
        alignment=alignment,
    )
    observed = np.stack(
        [seen(run, stacks, target[k], alignment[k], noise_seed(seed, str(k))) for k in range(len(source))]
    )
    good = [covered(clean[k], alignment[k], here.size) & there_is[:, None, None] for k in range(len(source))]
    middle = (objects.place - objects.start)[source]
    return Closure(
        source, middle, target, clean, observed, replace(request, good=np.stack(good)), np.tile(sigma, count)
    )


def cutouts(stacks: Stacks, bands: tuple[str, ...], start: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (band, row, col) of the stacks, NaN in bands without one, and which of them (row, col) are clean."""
    found = np.full((len(bands), size, size), np.nan, np.float32)
    for band, image in zip(stacks.bands, stacks.images, strict=True):
        found[bands.index(band)] = window(image, start, size)
    return found, window(stacks.distance, start, size) > SPOILED


def spread_out(values: np.ndarray, bands: tuple[str, ...], whole: tuple[str, ...]) -> np.ndarray:
    """Values of some bands in the order of all; NaN in the others."""
    return np.array([values[bands.index(band)] if band in bands else np.nan for band in whole], np.float32)


@torch.no_grad()
def seen(run: Run, stacks: Stacks, image: np.ndarray, alignment: np.ndarray, seed: int) -> np.ndarray:
    """One cutout (band, row, col) as the poorer survey would see it, with noise; NaN in bands without a stack."""
    networks, size, bands = run.networks, run.domains["x"].size, run.domains["y"].bands
    operator, survey = networks["operator_x"], networks["survey_x"]

    def of_all(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(spread_out(values, stacks.bands, bands))[None]

    known = Known(of_all(stacks.seeing), of_all(stacks.sigma), of_all(stacks.gain))
    there_is = torch.isfinite(of_all(stacks.sigma))
    mixing = networks["survey_y"].mixing(operator.colour, there_is)
    flux, led = torch.from_numpy(np.nan_to_num(image))[None], torch.from_numpy(alignment)[None]
    signal = observe(networks, "x", flux, known, survey.psf_fwhm[None], led, size, mixing)
    white = torch.randn(signal.shape, generator=torch.Generator().manual_seed(seed))
    made = signal + survey.noise(signal, torch.exp(survey.log_sigma)[None], survey.gain[None], white)
    return torch.where(there_is[..., None, None], made, torch.nan)[0].numpy()


def covered(clean: np.ndarray, alignment: np.ndarray, size: int) -> np.ndarray:
    """Which pixels (row, col) of an observation lie on clean pixels of the cutout alone."""
    flags = torch.from_numpy(clean.astype(np.float32))[None, None]
    return sample(flags, torch.from_numpy(alignment)[None], (size, size))[0, 0].numpy() > 1 - 1e-4


def give_back(run: Run, stacks: Stacks, closure: Closure, spectrum: Spectrum, seed: int) -> dict[str, np.ndarray]:
    """Signals by method (image, band, row, col) [nanomaggy/pixel], in the stacks' bands alone."""
    domains, request = run.domains, closure.request
    some = [domains["y"].bands.index(band) for band in stacks.bands]
    seeds, size = [noise_seed(seed, f"back {k}") for k in range(len(closure.source))], domains["y"].size
    made = translate_each(run, closure.observed, "y", seeds, noise=False, request=request)
    grids = (replace(domains[each].grid, bands=len(some)) for each in "xy")
    given = closure.observed[:, some]
    usual = run.networks["survey_y"].psf_fwhm.numpy()
    known = FilterConditions(
        alignment=request.alignment,
        seeing=request.psf_fwhm[:, some],
        richer_seeing=np.where(np.isfinite(request.seeing), request.seeing, usual)[:, some],
        sigma=closure.sigma[:, some],
    )
    return {
        "restored": made[:, some],
        "bilinear": resampled(given, request.alignment, size),
        "wiener": restored(given, known, by_seeing(ObservationOperator(*grids)), spectrum, size),
    }


def teach(sky: Path | None, stacks: Stacks, closure: Closure, pixel_scale: float, bands: tuple[str, ...]) -> Spectrum:
    """The spectrum of the Wiener filter, from CFHTLS images of a sky, or else from the objects that it restores."""
    some = [bands.index(band) for band in stacks.bands]
    if sky is None:
        first = np.unique(closure.source, return_index=True)[1]
        return learn_spectrum(closure.target[first][:, some], np.tile(stacks.sigma, (len(first), 1)), pixel_scale)
    store = open_store(sky / "cfht.zarr")
    if store.bands != bands:
        raise click.ClickException(
            f"{sky} has bands {''.join(store.bands)}, and the run {''.join(bands)}; give its own --sky"
        )
    rows = np.flatnonzero(store.usable)
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), TAUGHT)).astype(int))]
    return learn_spectrum(read_rows(store, rows)[:, some], store.column("sky_sigma")[rows][:, some], store.pixel_scale)


def compare(
    signals: dict[str, np.ndarray], target: np.ndarray, closure: Closure, stacks: Stacks, pixel_scale: float
) -> dict[str, dict[str, np.ndarray]]:
    """Residuals, and differences in magnitude within `APERTURE`, of each method's signals, each (image, band).

    All methods are compared over the same pixels, which are those that all of them have.
    """
    there = np.all([np.isfinite(each) for each in (target, *signals.values())], axis=0)
    where = there & (closure.clean & around(closure.middle, target.shape[-2:], pixel_scale))[:, None]
    real = fluxes(target, closure.middle, pixel_scale)
    return {
        method: {
            "residual": residuals(made, target, where, stacks.sigma),
            "magnitude": nanomaggies_to_magnitude(fluxes(made, closure.middle, pixel_scale))
            - nanomaggies_to_magnitude(real),
        }
        for method, made in signals.items()
    }


def around(middle: np.ndarray, shape: tuple[int, int], pixel_scale: float) -> np.ndarray:
    """Which pixels (image, row, col) lie within `REACH` of the object."""
    rows, cols = np.indices(shape)
    return np.hypot(rows - middle[:, :1, None], cols - middle[:, 1:, None]) * pixel_scale <= REACH


def residuals(made: np.ndarray, real: np.ndarray, where: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """√(max(Σ(s − y)² − N σ², 0) / (Σy² − N σ²)) of each image and band; NaN where noise hides the light."""
    noise = where.sum(axis=(-2, -1)) * sigma**2
    left = ((made - real) ** 2).sum(axis=(-2, -1), where=where, dtype=float) - noise
    light = (real**2).sum(axis=(-2, -1), where=where, dtype=float) - noise
    return np.sqrt(np.maximum(left, 0.0) / np.where(light > 0, light, np.nan))


def fluxes(images: np.ndarray, middle: np.ndarray, pixel_scale: float) -> np.ndarray:
    """Flux within `APERTURE` of the object (image, band) [nanomaggy]."""
    found = [
        [
            sep.sum_circle(np.ascontiguousarray(band, float), [col], [row], APERTURE / pixel_scale)[0][0]
            for band in image
        ]
        for image, (row, col) in zip(images, middle, strict=True)
    ]
    return np.array(found)


def summary(found: dict, closure: Closure, objects: Objects, bands: tuple[str, ...]) -> list[dict]:
    """Medians by bin of magnitude and by band: of the residual, of the difference in magnitude and of its size."""
    bins, rows = np.digitize(objects.magnitude, EDGES)[closure.source], []
    for number, label in enumerate(labels()):
        inside = bins == number
        for place, band in enumerate(bands if inside.any() else ()):
            row = {"magnitude": label, "objects": len(np.unique(closure.source[inside])), "band": band}
            for method, values in found.items():
                difference = values["magnitude"][inside, place]
                row[method] = {
                    "residual": middle_of(values["residual"][inside, place]),
                    "difference": middle_of(difference),
                    "absolute difference": middle_of(np.abs(difference)),
                }
            rows.append(row)
    return rows


def labels() -> list[str]:
    """Names of the bins of magnitude."""
    between = [f"{low:g} to {high:g}" for low, high in pairwise(EDGES)]
    return [f"< {EDGES[0]:g}", *between, f"> {EDGES[-1]:g}"]


def middle_of(values: np.ndarray) -> float | None:
    """The median of the values that are there; None where none is."""
    known = values[np.isfinite(values)]
    return round(float(np.median(known)), 4) if len(known) else None


def table(rows: list[dict]) -> str:
    """The summary as Markdown; a difference in magnitude with the median of its size in brackets."""
    heads = [f"residual, {each}" for each in METHODS] + [f"Δm [mag], {each}" for each in METHODS]
    lines = ["| " + " | ".join([f"{FOUND_IN} mag", "objects", "band", *heads]) + " |", "|---" * (3 + len(heads)) + "|"]
    for row in rows:
        values = [written(row[method]["residual"], "{:.3f}") for method in METHODS]
        values += [
            f"{written(row[method]['difference'], '{:+.3f}')} ({written(row[method]['absolute difference'], '{:.3f}')})"
            for method in METHODS
        ]
        lines.append("| " + " | ".join([row["magnitude"], str(row["objects"]), row["band"], *values]) + " |")
    return "\n".join(lines)


def written(value: float | None, how: str) -> str:
    return "–" if value is None else how.format(value)


def draw_picture(
    path: Path, run: Run, stacks: Stacks, closure: Closure, objects: Objects, signals: dict, target: np.ndarray
) -> None:
    """Input, what each method makes of it, and the stack, of a few objects from the brightest to the faintest."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    first = np.unique(closure.source, return_index=True)[1]
    shown = first[np.unique(np.linspace(0, len(first) - 1, min(SHOWN, len(first))).round().astype(int))]
    some = [run.domains["y"].bands.index(band) for band in stacks.bands]
    columns = {"input": closure.observed[:, some], **signals, "stack": target}
    figure, axes = plt.subplots(
        len(shown), len(columns), figsize=(2.2 * len(columns), 2.3 * len(shown)), squeeze=False, layout="constrained"
    )
    for axis, title in zip(axes[0], columns, strict=True):
        axis.set_title(title)
    for line, image in zip(axes, shown, strict=True):
        for axis, (name, images) in zip(line, columns.items(), strict=True):
            scale = run.domains["x" if name == "input" else "y"].pixel_scale
            axis.imshow(coloured(Panel(name, images[image], stacks.bands, scale)), origin="lower")
            axis.set(xticks=[], yticks=[])
        line[0].set_ylabel(f"{FOUND_IN} = {objects.magnitude[closure.source[image]]:.1f}")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def written_values(found: dict, closure: Closure, objects: Objects, bands: tuple[str, ...]) -> list[dict]:
    """All values that the summary is made of: a row an image."""
    rows = []
    for image, source in enumerate(closure.source):
        row = {"magnitude": round(float(objects.magnitude[source]), 3), "star": bool(objects.star[source])}
        row["place"] = objects.place[source].round(1).tolist()
        for method, values in found.items():
            row[method] = {
                name: {band: middle_of(each[image, [place]]) for place, band in enumerate(bands)}
                for name, each in values.items()
            }
        rows.append(row)
    return rows


def check_run(run: Run) -> None:
    """click.ClickException unless a run has an operator from CFHTLS to SDSS."""
    names = {domain: run.domains[domain].survey for domain in "xy"}
    if names != {"x": "sdss", "y": "cfht"} or not has_operator(run, "x"):
        raise click.ClickException(
            f"{run.path} is a {run.recipe} of {names['x']} and {names['y']}, which has no operator from cfht to sdss; "
            "give a --run of psf_matched"
        )


@click.command()
@click.option(
    "--stacks", "folder", type=click.Path(exists=True, path_type=Path), required=True, help="Folder of stacks."
)
@click.option(
    "--run", "run_path", type=click.Path(exists=True, path_type=Path), required=True, help="Folder of the run."
)
@click.option(
    "--sky", type=click.Path(exists=True, path_type=Path), help="Benchmark sky that teaches the Wiener filter."
)
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("closure"), show_default=True, help="Folder to make."
)
@click.option("--name", default="CFHTLS-test_{band}.fits", show_default=True, help="Of a stack of a band.")
@click.option("--faintest", type=float, default=21.5, show_default=True, help="Magnitude of the faintest object.")
@click.option("--most", type=click.IntRange(1), default=60, show_default=True, help="Number of objects at most.")
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True, help="Observations of each object.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of noise and of grids.")
@click.option("--begun", is_flag=True, help="Take a run whose training is still under way.")
def main(folder, run_path, sky, out, name, faintest, most, repeats, seed, begun) -> None:
    """Write OUT/closure.json and OUT/closure.png, and print a table."""
    try:
        run = load_run(run_path, "cpu", begun=begun)
        check_run(run)
        there = run.domains["y"]
        stacks = read_stacks(folder, name, there.bands, there.pixel_scale)
        objects = find_objects(stacks, there.size, there.pixel_scale, faintest, most)
        closure = degrade(run, stacks, objects, repeats, seed)
        spectrum = teach(sky, stacks, closure, there.pixel_scale, there.bands)
    except GaltransError as error:
        raise click.ClickException(str(error)) from error
    signals = give_back(run, stacks, closure, spectrum, seed)
    target = closure.target[:, [there.bands.index(band) for band in stacks.bands]]
    found = compare(signals, target, closure, stacks, there.pixel_scale)
    rows = summary(found, closure, objects, stacks.bands)
    print(table(rows))
    out.mkdir(parents=True, exist_ok=True)
    facts = {
        "run": {"recipe": run.recipe, "iteration": run.iteration},
        "seed": seed,
        "repeats": repeats,
        "objects": {"galaxies": int((~objects.star).sum()), "stars": int(objects.star.sum())},
        "stack": {
            each: dict(zip(stacks.bands, np.round(values, 6).tolist(), strict=True))
            for each, values in (("sigma", stacks.sigma), ("seeing", stacks.seeing))
        },
        "wiener learnt from": "the objects themselves" if sky is None else "a benchmark sky",
        "medians": rows,
        "images": written_values(found, closure, objects, stacks.bands),
    }
    (out / "closure.json").write_text(json.dumps(facts, indent=1) + "\n")
    draw_picture(out / "closure.png", run, stacks, closure, objects, signals, target)


if __name__ == "__main__":
    main()
