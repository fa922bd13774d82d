"""The card of a run: a README.md of the Hugging Face Hub, from run.json and a report."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from survey_tools.errors import ArgumentError, RunError
from survey_tools.sharing.front_matter import front_matter
from survey_tools.surveys import find_survey
from survey_tools.version import VERSION
from translator.intensity import unstretch
from translator.report.sample_files import BILINEAR, FLOOR, WIENER
from translator.report.verdict import AT_FLOOR, WITHIN, distances
from translator.runs.built_in import CARD, FOLDER
from translator.runs.checkpoint import Checkpoint, read_checkpoint
from translator.runs.facts import Domain, RunFacts, read_facts
from translator.runs.recipe_names import find_recipe
from translator.translation.translated import DOUBTFUL, SYNTHETIC

REPORT = "report.json"
MEASURES = {  # of the report: words of the table
    "signal_residual": "residual of the signal",
    "signal_scale": "resolution [″]",
    "aperture_offset": "Δmag within 3″",
    "hsm_size_bias": "size, relative",
    "photoz_sigma_mad": "photo-z σ_MAD",
    "sources_invented": "sources invented",
    "sources_lost": "sources lost",
    "noise_amplitude": "noise amplitude [dex]",
    "noise_power": "noise power",
    "coverage_flux_68": "68 % interval holds the flux",
    "coverage_truth_68": "68 % interval holds the true flux",
    "consistency": "consistency",
}
FIGURES = {  # of the model.json of a built-in model: measure of the report, by the word for it
    "residual": "signal_residual",
    "Δmag": "aperture_offset",
    "photo-z σ_MAD": "photoz_sigma_mad",
    "68 % interval holds": "coverage_flux_68",
}
WITHOUT_TRUTH = {  # further measures, which reports of real images have
    "signal_residual_real": "residual of the signal, from real images",
    "signal_scale_real": "resolution from real images [″]",
    "target_sources_invented": "sources invented, against real images",
    "target_sources_lost": "sources lost, against real images",
}
REFERENCES = {WIENER: "Wiener filter", BILINEAR: "bilinear", FLOOR: "floor"}  # rows beside the run, and words


@dataclass(frozen=True)
class _Known:
    """What a card is made from: a run, and a report on it or None.

    `model` is the content of the model.json of a built-in model; empty for other runs.
    """

    path: Path
    facts: RunFacts
    checkpoint: Checkpoint
    model: dict[str, Any]
    report: dict[str, Any] | None
    row: str  # the run in the report

    @property
    def directions(self) -> dict[str, str]:
        """Both directions by their names in reports, in words."""
        x, y = (find_survey(self.facts.domains[name].survey) for name in "xy")
        pairs = ((x, y), (y, x))
        return {f"{here.name}_to_{there.name}": f"{here.title} to {there.title}" for here, there in pairs}


def model_card(path: Path, report: Mapping[str, Any] | None = None) -> str:
    """Return the card of a run.

    Parameters
    ----------
    path : Path
        The folder of the run, or of a built-in model.
    report : mapping, optional
        The content of report.json of `evaluate`, which has measured these weights.

    Returns
    -------
    str
        Markdown that begins with YAML.

    Raises
    ------
    RunError
        The folder has no run, or the run has no checkpoint or a damaged one.
    ArgumentError
        The report has measured other weights.
    """
    facts, checkpoint = read_facts(path), read_checkpoint(path)
    if checkpoint is None:
        raise RunError(f"{path} has no checkpoint yet; let `galtrans train` run on it for longer")
    model = json.loads((path / CARD).read_text()) if path.parent == FOLDER else {}
    row = "" if report is None else _find_row(report, checkpoint.checksum)
    known = _Known(path, facts, checkpoint, model, report, row)
    parts = (_what(known), _use(known), _training(known), _measured(known), _limits(known), _origin(known))
    return front_matter(_front(known)) + "\n" + "\n".join(line for part in parts for line in part) + "\n"


def read_report(path: Path) -> dict[str, Any]:
    """Read the report of an evaluation.

    Parameters
    ----------
    path : Path
        report.json, or the folder of a report.

    Returns
    -------
    dict
        Its content.

    Raises
    ------
    ArgumentError
        There is no report, or it cannot be read.
    """
    file = path / REPORT if path.is_dir() else path
    try:
        content = json.loads(file.read_text())
        return content | {"runs": list(content["runs"]), "directions": dict(content["directions"])}
    except FileNotFoundError as error:
        raise ArgumentError("report", f"{file} does not exist; `galtrans evaluate` makes a report") from error
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ArgumentError("report", f"{file} is no report of `galtrans evaluate`, or it is damaged") from error


def _find_row(report: Mapping[str, Any], checksum: str) -> str:
    """Return the name of a run in a report, by the checksum of its weights."""
    for run in report["runs"]:
        if run.get("checksum") == checksum:
            return run["name"]
    names = ", ".join(dict.fromkeys(str(run.get("name")) for run in report["runs"]))
    raise ArgumentError(
        "report", f"it has measured other weights ({names}); evaluate this run with `galtrans evaluate`"
    )


def _front(known: _Known) -> dict[str, Any]:
    """Return the facts that the Hub reads."""
    facts = known.facts
    surveys = [domain.survey for domain in facts.domains.values()]
    front: dict[str, Any] = {"library_name": "galtrans", "pipeline_tag": "image-to-image"}
    if known.model:
        front["license"] = known.model["licence"].lower()
    front["tags"] = ["astronomy", "galaxies", "image-to-image", *surveys, facts.recipe.rpartition(":")[2]]
    results = list(_results(known))
    if results:
        front["model-index"] = [{"name": known.path.name, "results": results}]
    return front


def _results(known: _Known) -> Iterator[dict[str, Any]]:
    """Yield what was measured in each direction, as the Hub has it."""
    for direction, title, dataset, metrics in _metrics(known):
        if metrics:
            yield {
                "task": {"type": "image-to-image", "name": title},
                "dataset": {"type": direction, "name": dataset},
                "metrics": [{"type": kind, "name": words, "value": value} for kind, words, value in metrics],
            }


def _metrics(known: _Known) -> Iterator[tuple[str, str, str, list[tuple[str, str, float]]]]:
    """Yield direction, title, data set and the measures (name, words, value) of each direction."""
    if known.report is None:
        for direction, figures in known.model.get("figures", {}).items():
            metrics = [(FIGURES.get(words, words), words, float(value)) for words, value in figures.items()]
            yield direction, known.directions.get(direction, direction), str(known.model["figures_of"]), metrics
        return
    for direction, found in known.report["directions"].items():
        title = f"{found['from']} to {found['to']}"
        metrics = []
        for name, words in (MEASURES | WITHOUT_TRUTH).items():
            value = found["values"].get(name, {}).get(known.row)
            middle = np.nanmedian(np.array(value["value"], float)) if has_number(value) else np.nan
            if np.isfinite(middle):
                metrics.append((name, words, float(f"{middle:.4g}")))
        yield direction, title, _tested_on(known.report, found), metrics


def _tested_on(report: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """Return which galaxies were measured."""
    against = "the noise-free truth" if report.get("truth") else "real images"
    return f"{found['galaxies']:,} test galaxies, against {against}"


def _what(known: _Known) -> Iterator[str]:
    """Yield what the model is."""
    yield from (f"# {known.path.name}: {next(iter(known.directions.values()))} and back", "")
    yield f"**Translations are {SYNTHETIC}.**"
    yield ""
    domains = known.facts.domains.values()
    names = " and ".join(find_survey(domain.survey).title for domain in domains)
    yield (
        f"A model of galtrans that translates images of galaxies between {names} in the bands "
        f"{' '.join(known.facts.domains['x'].bands)}: it makes of an image of one survey the image that the other "
        "survey would have taken."
    )
    yield ""


def _use(known: _Known) -> Iterator[str]:
    """Yield what the model is for, and how it is loaded."""
    x, y = (known.facts.domains[name] for name in "xy")
    run = known.path.name
    yield from ("## Intended use", "")
    yield (
        "For comparing surveys, for training sets in the look of another survey, and for trying a method on images "
        "that do not exist yet. It is not for measurements of single objects that matter without a look at the "
        "original: what the input does not show is filled with what is usual."
    )
    yield from ("", "```python", "import numpy as np", "from astropy.wcs import WCS", "")
    yield from ("from translator import load_run, translate", "")
    where = "the name of a model that comes with galtrans" if known.model else "the folder of this file"
    yield f'run = load_run("{run}", device="cpu")  # {where}'
    yield f"scale = {x.pixel_scale} / 3600"
    yield 'cards = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 2.0}'
    middle = (x.size + 1) / 2
    yield f'grid = WCS(cards | {{"CRPIX1": {middle}, "CRPIX2": {middle}, "CDELT1": -scale, "CDELT2": scale}})'
    shape = f"({len(x.bands)}, {x.size}, {x.size})"
    yield f"image = np.random.default_rng(0).normal(0, 0.02, {shape})  # your pixels (band, row, col) in nanomaggies"
    yield f'hdus = translate(run, (image, grid), to="{y.survey}", unit="nanomaggy", device="cpu")'
    yield from ("hdus.info()", "```", "")
    yield from ("```sh", f"galtrans translate {run} my_galaxy.fits --to {y.survey} --out translated", "```", "")


def _training(known: _Known) -> Iterator[str]:
    """Yield what the model was trained on, and how."""
    facts = known.facts
    yield from ("## Training", "", "| | |", "|---|---|")
    yield f"| recipe | {_recipe(facts)} |"
    if known.model:
        yield f"| trained on | {known.model['trained']} |"
    for name, domain in facts.domains.items():
        words = f"{find_survey(domain.survey).title}, {' '.join(domain.bands)}, {domain.size} x {domain.size} pixels"
        yield f"| survey {name} | {words} of {domain.pixel_scale:g} arcsec |"
    if facts.imported:
        yield f"| weights | imported from {', '.join(facts.imported)} |"
    else:
        wanted = sum(facts.iterations)
        steps = " + ".join(f"{count:,}" for count in facts.iterations)
        yield f"| iterations | {known.checkpoint.iteration:,} of {wanted:,} ({steps}) |"
        yield f"| batch size, seed | {facts.batch_size}, {facts.seed} |"
        yield f"| precision | {facts.precision} |"
    if facts.begun_from:
        yield f"| began from | the weights of another run, SHA-256 `{facts.begun_from.get('checksum', 'unknown')}` |"
    yield f"| parameters | {_parameters(known.checkpoint)} |"
    yield ""
    if not facts.imported and known.checkpoint.iteration < sum(facts.iterations):
        yield from ("**The training is not finished**: translations are worse than they will be.", "")


def _recipe(facts: RunFacts) -> str:
    """Return a recipe in words; its name alone if it is not of this package and cannot be imported."""
    try:
        return f"`{facts.recipe}`: {find_recipe(facts.recipe).title}"
    except RunError:
        return f"`{facts.recipe}`"


def _parameters(checkpoint: Checkpoint) -> str:
    """Return how many numbers the weights are, in all and in each network."""
    counts: dict[str, int] = {}
    for name, tensor in checkpoint.networks.items():
        network = name.partition(".")[0]
        counts[network] = counts.get(network, 0) + tensor.numel()
    each = ", ".join(f"{network} {count:,}" for network, count in sorted(counts.items()))
    return f"{sum(counts.values()):,} ({each})"


def _measured(known: _Known) -> Iterator[str]:
    """Yield how good the model is."""
    yield from ("## How good it is", "")
    if known.report is None:
        if not known.model:
            yield "Nothing was measured: no report was given (`galtrans evaluate` makes one)."
            yield ""
            return
        yield f"Medians over the bands, measured on the test galaxies of `{known.model['figures_of']}`:"
        for direction, figures in known.model["figures"].items():
            yield from ("", f"| {known.directions.get(direction, direction)} | |", "|---|---|")
            yield from (f"| {name} | {_minus(value)} |" for name, value in figures.items())
        yield ""
        return
    report = known.report
    run = next(run for run in report["runs"] if run["name"] == known.row)
    level = 100 * report["settings"]["level"]
    yield (
        f"Medians over the bands, ± half the {level:g} % interval. The floor is what the noise of real images alone "
        "leaves: a measure is at its floor if it cannot be told from that."
    )
    if not run.get("test_galaxies_unseen", False):
        yield ""
        yield "**The training may have seen the test galaxies**: it had another pair table."
    yield ""
    for found in report["directions"].values():
        there = [row for row in REFERENCES if row in found["verdict"]["rows"]]
        yield f"### {found['from']} to {found['to']}"
        yield ""
        yield f"{_tested_on(report, found)}; bands {' '.join(found['bands'])}, {found['pixel_scale']:g} arcsec/pixel:"
        yield ""
        names = {known.row: "this model"} | {row: REFERENCES[row] for row in there}
        yield from measure_table(found, names, MEASURES | WITHOUT_TRUTH, empty=False)
        flagged = found.get("flagged", {}).get(known.row)
        yield from ("", f"{flagged:,} pixels of the translations were flagged.", "") if flagged else ("",)


def measure_table(
    found: Mapping[str, Any], rows: Mapping[str, str], measures: Mapping[str, str] = MEASURES, *, empty: bool = True
) -> Iterator[str]:
    """Yield the lines of the table of one direction of a report.

    Parameters
    ----------
    found : mapping
        The direction in report.json.
    rows : mapping
        Runs and references of the report, and the words above their columns.
    measures : mapping
        Measures, and the words for them.
    empty : bool
        Whether a measure without a number has a line.
    """
    yield "| | " + " | ".join(rows.values()) + " |"
    yield "|---" * (1 + len(rows)) + "|"
    for measure, words in measures.items():
        values = found["values"].get(measure, {})
        if empty or any(has_number(values.get(row)) for row in rows):
            yield f"| {words} (`{measure}`) | " + " | ".join(cell(values.get(row)) for row in rows) + " |"
    for words, limit in (("measures at their floor", AT_FLOOR), ("within three half widths", WITHIN)):
        far = [distances(found, row) for row in rows]
        counts = [sum(value <= limit for value in each.values()) for each in far]
        yield f"| {words}, of {len(far[0])} | " + " | ".join(map(str, counts)) + " |"


def has_number(value: Mapping[str, Any] | None) -> bool:
    """Return whether a row of a report has a number of a measure in any band."""
    return value is not None and bool(np.isfinite(np.array(value["value"], float)).any())


def cell(value: Mapping[str, Any] | None) -> str:
    """Return the median over the bands, and half the width of its interval: "0.12 ± 0.02"; a dash if there is none."""
    if not has_number(value):
        return "–"
    middle, low, high = (np.array(value[key], float) for key in ("value", "low", "high"))
    return f"{_minus(np.nanmedian(middle))} ± {np.nanmedian(high - low) / 2:.1g}".replace("-", "−")


def _minus(value: float) -> str:
    """Return three digits of a number, with a real minus sign."""
    return f"{value:.3g}".replace("-", "−")


def _limits(known: _Known) -> Iterator[str]:
    """Yield what the model has seen, and how it says that an input is unlike it."""
    yield from ("## Limits", "")
    yield "It has seen images like these; run.json states no brightness of galaxies:"
    yield ""
    for domain in known.facts.domains.values():
        yield from _seen(domain)
    yield (
        "Headers of translations tell of inputs that are unlike them: `GTFLAGS` has `beyond training` if the seeing or "
        "the noise is outside these ranges, and `inconsistent` if `CONSIST`, the chi2 a pixel of the input under the "
        f"translation, is above {DOUBTFUL:g}. Recipes that do not observe their translations again have no `CONSIST`."
    )
    yield ""


def _seen(domain: Domain) -> Iterator[str]:
    """Yield the table of the seeing and noise of the images of a survey."""
    lines = {}
    if domain.psf_fwhm:
        lines["seeing, FWHM [arcsec], median"] = [f"{value:.2f}" for value in domain.psf_fwhm]
    if domain.psf_range:
        least, most = np.array(domain.psf_range).reshape(2, -1)
        ends = zip(least, most, strict=True)
        lines["seeing of 99 % of the images"] = [f"{low:.2f} to {high:.2f}" for low, high in ends]
    if domain.sky:
        noise = unstretch(np.array(domain.sky))
        lines["noise of blank sky [nanomaggy/pixel], median"] = [f"{value:.3g}" for value in noise]
    title = find_survey(domain.survey).title
    if not lines:
        yield from (f"{title}: seeing and noise are unknown.", "")
        return
    yield f"| {title} | " + " | ".join(domain.bands) + " |"
    yield "|---" * (1 + len(domain.bands)) + "|"
    for words, values in lines.items():
        yield f"| {words} | " + " | ".join(values) + " |"
    yield ""


def _origin(known: _Known) -> Iterator[str]:
    """Yield where the weights and the numbers are from."""
    yield from ("## Where it is from", "")
    yield f"- SHA-256 of the weights: `{known.checkpoint.checksum}`"
    yield f"- begun by galtrans {known.facts.galtrans_version}; this card by galtrans {VERSION}"
    for domain in known.facts.domains.values():
        if domain.fingerprint:
            yield f"- fingerprint of the store of {find_survey(domain.survey).title}: `{domain.fingerprint}`"
    if known.facts.pairs:
        yield f"- fingerprint of the pair table: `{known.facts.pairs}`"
    if known.report is not None:
        yield f"- report of {known.report['date']}, by galtrans {known.report['galtrans_version']}"
    if known.model:
        yield f"- licence: {known.model['licence']}"
