"""Benchmark skies: fixed sets of simulated stores, pairs and truth, with which recipes are compared.

A set depends on its row in `BENCHMARKS` alone. With the same versions of the libraries it is the same to the bit,
however many workers make it. On another processor, or with another version of NumPy or GalSim, the last digit of a
pixel may differ. Therefore a few objects, recorded in `RECORDS`, are drawn and compared before a set is made.
"""

import hashlib
import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from astropy.table import Table

from survey_tools.errors import GaltransError
from survey_tools.files import SUMS, checksum
from survey_tools.matching.pairs import make_pairs
from survey_tools.store.zarr_store import CHUNK_BYTES, Store, open_store
from survey_tools.surveys import SURVEYS
from survey_tools.twin_sky.simulate import DEFAULT, benchmark_of, filling
from survey_tools.twin_sky.stores import build_stores, catalogue_of, draw_objects, see
from survey_tools.version import VERSION

TOLERANCE = 1e-4  # relative, of sums over a probed image; another draw of the noise changes them by 1e-2
LIBRARIES = ("numpy", "scipy", "astropy", "galsim", "zarr", "numcodecs")  # libraries on which the bytes depend


@dataclass(frozen=True)
class Benchmark:
    """A set of simulated objects.

    Attributes
    ----------
    x, y : int
        Number of unpaired objects of the survey with the larger pixels, and of the other.
    train, test : int
        Number of pairs for training and for tests.
    seed : int
        Seed of everything random.
    """

    x: int
    y: int
    train: int
    test: int
    seed: int

    @property
    def pairs(self) -> int:
        """The number of objects that are in both surveys."""
        return self.train + self.test

    def unpaired(self, surveys) -> dict[str, int]:
        """The number of unpaired objects of each of two surveys, of which the first has the larger pixels."""
        return dict(zip(surveys, (self.x, self.y), strict=True))


@dataclass(frozen=True)
class Record:
    """What a set was when it was fixed.

    Attributes
    ----------
    catalogues : str
        The `fingerprint` of its objects.
    probe : dict
        The result of `probe`, by survey.
    """

    catalogues: str
    probe: dict[str, tuple[float, ...]]


BENCHMARKS = {
    "twin-v1": Benchmark(x=20_000, y=10_000, train=2_557, test=1_000, seed=20251),  # the numbers of the paper
    "twin-v1-small": Benchmark(x=2_000, y=1_000, train=255, test=100, seed=20252),
}
RECORDS = {
    "twin-v1": Record(
        "f36fd31ca6948bdff8d49410e1fcd9cbd04aadab106c4315a242832051640b9e",
        {
            "sdss": (9.59784, 1.11863, 2.41149, 4.39565, 84.8397, 1.96, 18.6688, 60.1869, 104.558, 181.366),
            "cfht": (0.0165987, 0.0074117, 0.0261674, 0.071975, 0.258494, 0.903065, 5.33487, 16.3979, 45.3102, 61.8706),
        },
    ),
    "twin-v1-small": Record(
        "c3e6b6ec21e5a8a5776eb5cf8efdbcb8d7428311ffb848bbda3b4b0714e9f641",
        {
            "sdss": (8.04554, 0.939303, 1.63894, 4.45905, 82.6136, 0.00646977, 0.11203, 2.04897, 5.77014, 12.1433),
            "cfht": (
                0.0153923,
                0.00601957,
                0.0356024,
                0.0848749,
                0.308809,
                0.00376649,
                0.0627666,
                1.04457,
                3.1346,
                4.24789,
            ),
        },
    ),
}
POPULATION = {  # medians, then robust standard deviations, of the objects of twin-v1-small, by band
    "sdss": {
        "sky_sigma": ((0.04537, 0.01633, 0.02522, 0.03825, 0.1345), (0.00331, 0.00206, 0.00314, 0.00473, 0.0138)),
        "psf_fwhm": ((1.443, 1.374, 1.299, 1.24, 1.257), (0.152, 0.146, 0.139, 0.135, 0.134)),
    },
    "cfht": {
        "sky_sigma": (
            (0.0009477, 0.0007121, 0.001586, 0.00216, 0.004195),
            (0.00014, 0.000167, 0.000317, 0.000454, 0.000737),
        ),
        "psf_fwhm": ((0.8509, 0.7825, 0.7125, 0.6416, 0.6755), (0.087, 0.084, 0.0728, 0.0706, 0.0732)),
    },
}


def simulate_benchmark(
    out,
    name: str,
    *,
    bands: dict[str, str] | None = None,
    workers: int = 1,
    overwrite: bool = False,
    chunk_bytes: int = CHUNK_BYTES,
) -> list[Path]:
    """Make a benchmark sky, or resume one that was interrupted in the same folder.

    The sky that SDSS and CFHTLS see is a record. Any other two surveys see the same galaxies at the same places, and no
    record is kept of their images.

    Parameters
    ----------
    out : str or Path
        Folder for the stores, their noise-free twins in `truth`, which have images of the test pairs only, the
        catalogues, `pairs.ecsv`, and `benchmark.json`: library versions, statistics of the stores, and checksums of
        all, by which two copies can be compared.
    name : str
        A row of `BENCHMARKS`.
    bands : dict, optional
        Bands of two surveys, as one word, the survey with the larger pixels first; by default all of SDSS and CFHTLS.
    workers : int
        Number of processes. They do not change the result.
    overwrite : bool
        Whether to replace what an earlier simulation left in `out`.
    chunk_bytes : int
        Bytes that the images of a chunk of a store may take.

    Returns
    -------
    list of Path
        The paths written.

    Raises
    ------
    GaltransError
        This computer draws other objects than those recorded; or `out` holds a simulation already, or something else
        with the names of its files.
    """
    out, benchmark, bands = Path(out), BENCHMARKS[name], bands or DEFAULT
    numbers = {"train": benchmark.train, "test": benchmark.test, "seed": benchmark.seed}
    settings = {"kind": name} | benchmark.unpaired(bands) | numbers
    words = {"benchmark": name, "bands": bands, "seed": benchmark.seed}
    if bands != DEFAULT:
        settings |= {"bands": bands}
    names = benchmark_of(bands)
    with filling(out, names, settings, overwrite=overwrite) as folder:
        if folder is None:
            return [out / each for each in names]
        targets = draw_targets(benchmark, tuple(bands))
        if tuple(bands) == tuple(DEFAULT):
            check(name, targets)
        build_stores(folder, targets, bands, words, workers, chunk_bytes)
        pairs = pair_table(folder, name, tuple(bands))
        pairs.write(folder / "pairs.ecsv", overwrite=True)
        (folder / "benchmark.json").write_text(json.dumps(describe(folder, name, pairs, tuple(bands)), indent=1))
    return [out / each for each in names]


def draw_targets(benchmark: Benchmark, surveys: tuple[str, str] = tuple(DEFAULT)) -> Table:
    """Draw the objects of a set, with the test pairs in a region of their own.

    The region is the north of the sky, over its whole width. All test pairs and no other object lie there.

    Parameters
    ----------
    benchmark : Benchmark
        The set.
    surveys : tuple of str
        The two surveys that see it.

    Returns
    -------
    Table
        As `stores.draw_objects` returns it.
    """
    counts = {survey: each + benchmark.pairs for survey, each in benchmark.unpaired(surveys).items()}
    targets = draw_objects(counts, benchmark.pairs, benchmark.seed)
    last = counts[surveys[0]]
    test = (targets["number"] >= last - benchmark.test) & (targets["number"] < last)
    northern = np.zeros(len(targets), bool)
    northern[np.argsort(-targets["dec"], kind="stable")[: benchmark.test]] = True
    places = np.stack([targets["ra"], targets["dec"]], axis=1)
    for name, values in zip(("ra", "dec"), places.T, strict=True):
        swapped = np.empty(len(targets))
        swapped[test], swapped[~test] = values[northern], values[~northern]
        targets[name] = swapped
    targets["truth"] = test
    return targets


def pair_table(folder: Path, name: str, surveys: tuple[str, str] = tuple(DEFAULT)) -> Table:
    """Return the pairs of the stores in a folder, as `make_pairs` finds them, but all of them, wherever the images
    peak.

    The simulation knows which objects are the same. Test pairs are those whose truth is given.

    Parameters
    ----------
    folder : Path
        The folder of the set.
    name : str
        A row of `BENCHMARKS`.
    surveys : tuple of str
        The two surveys that see it.

    Returns
    -------
    Table
        The pair table.
    """
    stores = tuple(folder / f"{survey}.zarr" for survey in surveys)
    table = make_pairs(*stores, radius=1.0, max_peak_offset=np.inf)
    known = open_store(folder / "truth" / stores[0].name).usable[table["x_row"]]
    table["split"] = np.where(known, "test", "train")
    benchmark = BENCHMARKS[name]
    if (int(known.sum()), len(table)) != (benchmark.test, benchmark.pairs):
        raise GaltransError(
            f"{len(table)} pairs, {known.sum()} of them to test, came out of {name}; please report this"
        )
    table.meta |= {"x": stores[0].name, "y": stores[1].name, "seed": benchmark.seed, "benchmark": name}
    table.meta["test_region"] = f"dec > {_edge(*stores, table[known]):.6f} deg"
    return table


def _edge(x_path: Path, y_path: Path, test: Table) -> float:
    """Return the declination [deg] between the test pairs and all other objects, which lie south of them."""
    x, y = (open_store(path).column("dec") for path in (x_path, y_path))
    others = np.concatenate([np.delete(x, test["x_row"]), np.delete(y, test["y_row"])])
    return float(x[test["x_row"]].min() + others.max()) / 2


def check(name: str, targets: Table) -> None:
    """Compare the objects of a set, and the images of a few, with the record.

    Parameters
    ----------
    name : str
        A row of `BENCHMARKS`.
    targets : Table
        Its objects, from `draw_targets`.

    Raises
    ------
    GaltransError
        They differ.
    """
    record, benchmark = RECORDS[name], BENCHMARKS[name]
    versions = ", ".join(f"{library} {version(library)}" for library in LIBRARIES[:4])
    if fingerprint(targets, benchmark.seed) != record.catalogues:
        raise GaltransError(f"{versions} draw other objects than those of {name}: their random numbers have changed")
    for survey, recorded in record.probe.items():
        drawn = probe(survey, targets, benchmark.seed)
        if not np.allclose(drawn, recorded, rtol=TOLERANCE, atol=0):
            worst = np.abs(np.array(drawn) / recorded - 1).max()
            raise GaltransError(f"{versions} draw other images than those of {name}: {survey} differs by {worst:.2g}")


def fingerprint(targets: Table, seed: int) -> str:
    """Return the SHA-256 of the objects, in the order of the catalogues: names, survey membership, and rounded values.

    Positions are rounded to 1e-5 deg, redshifts to 1e-5 and r to 1e-3, so that the last digit of a number, which may
    differ between processors, does not matter.

    Parameters
    ----------
    targets : Table
        The objects.
    seed : int
        The seed of the set.

    Returns
    -------
    str
        Hexadecimal digits.
    """
    digest = hashlib.sha256()
    for survey in DEFAULT:
        catalogue = catalogue_of(survey, targets[targets[survey]], seed)
        digest.update("\0".join(catalogue["object_id"]).encode())
        for column, step in (("ra", 1e-5), ("dec", 1e-5), ("redshift", 1e-5), ("true_r", 1e-3)):
            digest.update(np.rint(np.asarray(catalogue[column]) / step).astype("<i8").tobytes())
    digest.update(np.asarray(targets["truth"], bool).tobytes())
    return digest.hexdigest()


def probe(survey: str, targets: Table, seed: int) -> tuple[float, ...]:
    """Return sums of squared pixels of the first test object.

    Parameters
    ----------
    survey : str
        Name of the survey.
    targets : Table
        The objects.
    seed : int
        The seed of the set.

    Returns
    -------
    tuple of float
        [nanomaggy^2] of the noise of each band, then of each band without noise.
    """
    first = int(np.argmax(targets["truth"]))
    target = targets[first : first + 1]
    catalogue, row = catalogue_of(survey, target, seed), SURVEYS[survey]
    view = see(row, target, (float(catalogue["ra"][0]), float(catalogue["dec"][0])), row.bands, seed)
    images = np.concatenate([view.images - view.truth, view.truth]).astype(float)
    return tuple((images**2).sum(axis=(1, 2)).tolist())


def describe(folder: Path, name: str, pairs: Table, surveys: tuple[str, str] = tuple(DEFAULT)) -> dict:
    """Describe a set in a folder: versions, statistics of stores and pairs, and checksums.

    Parameters
    ----------
    folder : Path
        The folder of the set.
    name : str
        A row of `BENCHMARKS`.
    pairs : Table
        Its pair table.
    surveys : tuple of str
        The two surveys that see it.

    Returns
    -------
    dict
        What `benchmark.json` holds.
    """
    stores = {survey: open_store(folder / f"{survey}.zarr") for survey in surveys}
    offsets = np.asarray(pairs["peak_offset"])
    return {
        "benchmark": name,
        "galtrans": VERSION,
        "libraries": {library: version(library) for library in LIBRARIES},
        "statistics": {survey: statistics(store) for survey, store in stores.items()},
        "pairs": {split: int((pairs["split"] == split).sum()) for split in ("train", "test")}
        | {
            "median_separation": float(np.median(pairs["separation"])),
            "median_peak_offset": float(np.nanmedian(offsets)),
            "peaks_over_1_arcsec_apart": int((~(offsets <= 1)).sum()),
            "test_region": pairs.meta["test_region"],
        },
        "sha256": {
            each: checksum(folder / each / SUMS if each.endswith(".zarr") else folder / each)
            for each in (*(f"{place}{survey}.zarr" for place in ("", "truth/") for survey in surveys), "pairs.ecsv")
        },
    }


def statistics(store: Store) -> dict:
    """Return statistics of a store.

    Parameters
    ----------
    store : Store
        The store.

    Returns
    -------
    dict
        Number of objects and of those with saturated pixels; medians and robust deviations of noise and seeing by band.
    """
    found = {"objects": len(store), "saturated": int(store.column("saturated").any(axis=1).sum())}
    for column in ("sky_sigma", "psf_fwhm"):
        values = store.column(column).astype(float)
        median = np.median(values, axis=0)
        found[f"median_{column}"] = median.tolist()
        found[f"robust_sigma_{column}"] = (1.4826 * np.median(np.abs(values - median), axis=0)).tolist()
    return found
