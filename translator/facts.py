"""What a training run is made from: the facts in its run.json."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from astropy.table import Table

from survey_tools.atomic import whole_file
from survey_tools.errors import RunError
from survey_tools.store import Store
from survey_tools.version import VERSION
from translator.intensity import stretch
from translator.networks.layers import Grid

SCHEMA, SCHEMA_VERSION = "galtrans-run", 1
DIFFERENCES = {  # what must be the same for a run to go on, and the words for it
    "recipe": "--recipe",
    "domains": "pair of stores",
    "pairs": "pair table",
    "seed": "--seed",
    "batch_size": "--batch-size",
    "iterations": "number of --iterations",
}


@dataclass(frozen=True)
class Domain:
    """What a run knows of one of its two surveys.

    Attributes:
        survey: Name of its row in `surveys.py`.
        bands: Bands, in the order of the band axis.
        size: Rows, and columns, of an image.
        pixel_scale: [arcsec/pixel].
        sky: Standard deviation of a pixel of empty sky in each band, stretched; empty where unknown.
        fingerprint: Checksum of the store that it trains on.
    """

    survey: str
    bands: tuple[str, ...]
    size: int
    pixel_scale: float
    sky: tuple[float, ...]
    fingerprint: str

    @property
    def grid(self) -> Grid:
        """Its pixels, as networks are built from them."""
        return Grid(len(self.bands), self.size, self.sky)


@dataclass(frozen=True)
class Facts:
    """What a run is made from, as run.json states it.

    Attributes:
        recipe: Name of its row in `recipes.py`.
        iterations: Of each step.
        batch_size: Unpaired images of each domain, and pairs, in an iteration.
        seed: Of everything random.
        domains: "x" and "y".
        pairs: Checksum of the pair table.
        galtrans_version: That began it.
    """

    recipe: str
    iterations: tuple[int, ...]
    batch_size: int
    seed: int
    domains: dict[str, Domain]
    pairs: str
    galtrans_version: str = VERSION


def describe_domain(store: Store) -> Domain:
    """What a run keeps of a store."""
    usable = store.usable
    sky = np.median(store.column("sky_sigma")[usable], axis=0) if usable.any() else np.array([np.nan])
    known = np.isfinite(sky).all() and (sky > 0).all()
    digest = hashlib.sha256(json.dumps(store.attributes, sort_keys=True).encode())
    for column in ("coverage", "saturated"):
        digest.update(store.column(column).tobytes())
    return Domain(
        survey=store.survey["name"],
        bands=store.bands,
        size=store.size,
        pixel_scale=store.pixel_scale,
        sky=tuple(stretch(sky.astype(float)).tolist()) if known else (),
        fingerprint=digest.hexdigest(),
    )


def fingerprint_of_pairs(pairs: Table) -> str:
    """A checksum of which rows are pairs and what they serve for."""
    rows = zip(pairs["x_row"], pairs["y_row"], pairs["split"], strict=True)
    return hashlib.sha256("".join(f"{x} {y} {split}\n" for x, y, split in rows).encode()).hexdigest()


def check_same(path: Path, begun: Facts, wanted: Facts) -> None:
    """RunError, naming what differs, unless the run in `path` was begun with the facts that are wanted now."""
    for name, remedy in DIFFERENCES.items():
        was, now = getattr(begun, name), getattr(wanted, name)
        if was != now:
            values = "" if name in ("domains", "pairs") else f" ({was}, not {now})"
            raise RunError(f"{path} was begun with another {remedy}{values}; give the same, or choose another --run")


def write_facts(path: Path, facts: Facts) -> None:
    """Begin a run in the folder `path`."""
    document = {"schema": SCHEMA, "schema_version": SCHEMA_VERSION} | asdict(facts)
    with whole_file(path / "run.json") as temporary:
        temporary.write_text(json.dumps(document, indent=2) + "\n")


def read_facts(path: Path) -> Facts:
    """What a run was made from; RunError where `path` holds none that this version can read."""
    try:
        document = json.loads((path / "run.json").read_text())
        schema, version = document.pop("schema"), document.pop("schema_version")
        if (schema, version) != (SCHEMA, SCHEMA_VERSION):
            raise RunError(f"{path}/run.json is {schema} version {version}; galtrans {VERSION} reads {SCHEMA_VERSION}")
        domains = {
            name: Domain(**domain | {key: tuple(domain[key]) for key in ("bands", "sky")})
            for name, domain in document["domains"].items()
        }
        if set(domains) != {"x", "y"}:
            raise KeyError("domains")
        return Facts(**document | {"domains": domains, "iterations": tuple(document["iterations"])})
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RunError(f"{path} is no training run: it has no run.json; make one with `galtrans train`") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{path}/run.json is damaged; train anew into another folder") from error
