"""What a training run is made from: the facts in its run.json."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from astropy.table import Table

from survey_tools.errors import RunError, SurveyError
from survey_tools.files import whole_file
from survey_tools.store.partitioned import MOST_ROWS, PartitionedStore, parts_of
from survey_tools.store.zarr_store import Store
from survey_tools.surveys import CFHT, SDSS, find_survey
from survey_tools.version import VERSION
from translator.data.conditions import medians
from translator.intensity import stretch
from translator.networks.layers import Grid
from translator.runs.device import PRECISIONS

SCHEMA, SCHEMA_VERSION = "galtrans-run", 1
AT_ONCE = 2**16  # pairs whose text is in memory at once
TUPLES = ("bands", "sky", "psf_fwhm", "psf_range")  # fields of a domain that are lists in JSON
OPTIONAL = ("lengthened", "begun_from", "validation", "ended", "best_by")  # facts that run.json states if there are any
DIFFERENCES = {  # facts that a resumed run must share, and the words for them
    "recipe": "--recipe",
    "domains": "pair of stores",
    "pairs": "pair table",
    "seed": "--seed",
    "batch_size": "--batch-size",
    "width": "--width",
    "precision": "--precision",
}


@dataclass(frozen=True)
class Domain:
    """What a run knows of one of its two surveys.

    Attributes
    ----------
    survey : str
        Name of its row in `surveys.py`.
    bands : tuple of str
        Bands, in the order of the band axis.
    size : int
        Rows, and columns, of an image.
    pixel_scale : float
        [arcsec/pixel].
    sky : tuple of float
        Standard deviation of a pixel of empty sky in each band, stretched; empty if unknown.
    fingerprint : str
        Checksum of the store that it trains on.
    psf_fwhm : tuple of float
        Usual full width at half maximum of stars in each band [arcsec]; empty if unknown.
    psf_range : tuple of float
        The smallest in each band, and then the largest, without a hundredth of the images; empty if unknown, and in
        older runs.
    """

    survey: str
    bands: tuple[str, ...]
    size: int
    pixel_scale: float
    sky: tuple[float, ...]
    fingerprint: str
    psf_fwhm: tuple[float, ...] = ()
    psf_range: tuple[float, ...] = ()

    @property
    def grid(self) -> Grid:
        """Its pixels, as networks are built from them."""
        return Grid(len(self.bands), self.size, self.sky, self.pixel_scale, self.psf_fwhm)


@dataclass(frozen=True)
class RunFacts:
    """What a run is made from, as run.json states it.

    Attributes
    ----------
    recipe : str
        Name of its recipe, as of `recipe_names`.
    iterations : tuple of int
        Iterations of each step.
    batch_size : int
        Unpaired images of each domain, and pairs, in an iteration.
    seed : int
        Seed of everything random.
    domains : dict
        "x" and "y".
    pairs : str
        Checksum of the pair table; "" if there is none.
    galtrans_version : str
        Version that began the run.
    imported : dict
        The files that its weights were imported from, by name, with their SHA-256; empty for a training.
    width : int
        Channels of the networks' first layers; 0, as in older runs, stands for the recipe's own.
    precision : str
        Precision of its convolutions, a row of `device.PRECISIONS`.
    lengthened : tuple of dict
        Each change of `iterations` when the run was resumed: "at" which iteration, "from" and "to" the iterations of
        each step, and "schedule", sentences on the learning rates.
    begun_from : dict
        The weights that its training began from, as of `training.start`; empty if it began anew. It is "from" in JSON.
    validation : dict
        The pairs that a training is watched by, as of `training.validation.describe_pairs`; empty without any.
    ended : tuple of dict
        Steps that ended before all their iterations were done: "step" (counted from 1), "at" which iteration, "of" how
        many iterations, and "why".
    best_by : str
        Of the best state of a run: the measure by which it is the best.
    """

    recipe: str
    iterations: tuple[int, ...]
    batch_size: int
    seed: int
    domains: dict[str, Domain]
    pairs: str
    galtrans_version: str = VERSION
    imported: dict[str, str] = field(default_factory=dict)
    width: int = 0
    precision: str = "float32"
    lengthened: tuple[dict, ...] = ()
    begun_from: dict = field(default_factory=dict)
    validation: dict = field(default_factory=dict)
    ended: tuple[dict, ...] = ()
    best_by: str = ""

    @property
    def ended_early(self) -> list[dict]:
        """Those of `ended` whose steps were not made longer since."""
        return [each for each in self.ended if each["at"] == sum(self.iterations[: each["step"]])]


def describe_domain(store: Store) -> Domain:
    """Return what a run keeps of a store."""
    usable = np.flatnonzero(store.usable)
    if len(usable) > MOST_ROWS and isinstance(store, PartitionedStore):
        usable = usable[np.linspace(0, len(usable) - 1, MOST_ROWS).astype(int)]
    sky = np.median(store.take("sky_sigma", usable), axis=0) if len(usable) else np.array([np.nan])
    known = np.isfinite(sky).all() and (sky > 0).all()
    facts = store.attributes | {"rows": store.rows, "bands": list(store.bands)}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for column in ("coverage", "saturated"):
        for _, part in parts_of(store):
            digest.update(part.column(column).tobytes())
    return Domain(
        survey=store.survey["name"],
        bands=store.bands,
        size=store.size,
        pixel_scale=store.pixel_scale,
        sky=tuple(stretch(sky.astype(float)).tolist()) if known else (),
        fingerprint=digest.hexdigest(),
        psf_fwhm=_seeing(store),
        psf_range=_range_of_seeing(store),
    )


def _seeing(store: Store) -> tuple[float, ...]:
    """Return the median seeing of each band [arcsec]; empty if that of any band is unknown."""
    widths = medians(store.sample("psf_fwhm"))
    return tuple(widths.tolist()) if np.isfinite(widths).all() else ()


def _range_of_seeing(store: Store) -> tuple[float, ...]:
    """Return the smallest and the largest seeing of each band [arcsec], as of `Domain.psf_range`."""
    if not _seeing(store):
        return ()
    widths = store.sample("psf_fwhm")
    return tuple(np.nanquantile(np.where(widths > 0, widths, np.nan), [0.005, 0.995], axis=0).ravel().tolist())


def survey_domains(same_grid: bool) -> dict[str, Domain]:
    """Return SDSS (x) and CFHTLS (y) in their own sizes, or CFHTLS on the grid of SDSS, without a store."""
    y = SDSS if same_grid else CFHT
    return {
        "x": Domain(SDSS.name, SDSS.bands, SDSS.cutout_size, SDSS.pixel_scale, (), ""),
        "y": Domain(CFHT.name, CFHT.bands, y.cutout_size, y.pixel_scale, (), ""),
    }


def fingerprint_of_pairs(pairs: Table) -> str:
    """Return a checksum of which rows are pairs and of what they serve for."""
    digest = hashlib.sha256()
    for first in range(0, len(pairs), AT_ONCE):  # text of all pairs would take much memory
        part = pairs[first : first + AT_ONCE]
        rows = zip(part["x_row"], part["y_row"], part["split"], strict=True)
        digest.update("".join(f"{x} {y} {split}\n" for x, y, split in rows).encode())
    return digest.hexdigest()


def check_same(path: Path, begun: RunFacts, wanted: RunFacts) -> None:
    """Check that the run in `path` was begun with the facts that are wanted now; RunError names what differs."""
    if begun.imported:
        raise RunError(
            f"{path} holds weights imported from {', '.join(begun.imported)} and no state of a training, so it cannot "
            "go on; train into another --run, without --resume"
        )
    if begun.best_by:
        raise RunError(f"{path} holds the best state of a run and no state of a training; resume the run {path.parent}")
    for name, remedy in DIFFERENCES.items():
        was, now = (_comparable(getattr(facts, name)) for facts in (begun, wanted))
        if was != now:
            values = "" if name in ("domains", "pairs") else f" ({was}, not {now})"
            raise RunError(
                f"{path} was begun with another {remedy}{values}; give the same one, or choose another --run"
            )


def _comparable(fact: object) -> object:
    """Return a fact without what older runs do not state: the seeing of stores, which their fingerprints imply."""
    if not isinstance(fact, dict):
        return fact
    return {name: replace(domain, psf_fwhm=(), psf_range=()) for name, domain in fact.items()}


def write_facts(path: Path, facts: RunFacts) -> None:
    """Begin a run in the folder `path`."""
    stated = {name: value for name, value in asdict(facts).items() if value or name not in OPTIONAL}
    if "begun_from" in stated:
        stated["from"] = stated.pop("begun_from")
    document = {"schema": SCHEMA, "schema_version": SCHEMA_VERSION} | stated
    with whole_file(path / "run.json") as temporary:
        temporary.write_text(json.dumps(document, indent=2) + "\n")


def read_facts(path: Path) -> RunFacts:
    """Return what a run was made from.

    Raises
    ------
    RunError
        If `path` holds no run that this version can read.
    """
    try:
        document = json.loads((path / "run.json").read_text())
        schema, version = document.pop("schema"), document.pop("schema_version")
        if (schema, version) != (SCHEMA, SCHEMA_VERSION):
            raise RunError(f"{path}/run.json is {schema} version {version}; galtrans {VERSION} reads {SCHEMA_VERSION}")
        domains = {
            name: Domain(**domain | {key: tuple(domain[key]) for key in TUPLES if key in domain})
            for name, domain in document["domains"].items()
        }
        if set(domains) != {"x", "y"}:
            raise KeyError("domains")
        document |= {name: tuple(document.get(name, ())) for name in ("lengthened", "ended")}
        document |= {"begun_from": document.pop("from", {})}
        facts = RunFacts(**document | {"domains": domains, "iterations": tuple(document["iterations"])})
        _check_types(facts)
        return facts
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise RunError(f"{path} is not a training run: it has no run.json; make a run with `galtrans train`") from error
    except SurveyError as error:
        raise RunError(f"{path} cannot be used here: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:80]
        raise RunError(f"{path}/run.json is damaged ({reason}); train again into another folder") from error


def _check_types(facts: RunFacts) -> None:
    """Raise TypeError or ValueError if a fact is of the wrong kind, as in a run.json that galtrans did not write."""
    domains = facts.domains.values()
    kinds = {
        str: [
            facts.recipe,
            facts.pairs,
            facts.galtrans_version,
            facts.precision,
            facts.best_by,
            *facts.imported.keys(),
            *facts.imported.values(),
        ]
        + [word for domain in domains for word in (domain.survey, domain.fingerprint, *domain.bands)],
        dict: [*facts.lengthened, *facts.ended, facts.begun_from, facts.validation],
        int: [*facts.iterations, facts.batch_size, facts.seed, facts.width, *(domain.size for domain in domains)],
        (int, float): [
            number
            for domain in domains
            for number in (domain.pixel_scale, *domain.sky, *domain.psf_fwhm, *domain.psf_range)
        ],
    }
    for kind, values in kinds.items():
        wrong = [value for value in values if not isinstance(value, kind)]
        if wrong:
            raise TypeError(f"{wrong[0]!r} is of the wrong type")
    if facts.precision not in PRECISIONS:
        raise ValueError(f"no precision {facts.precision!r} is known")
    for domain in domains:
        find_survey(domain.survey)
