"""Describe in words what a store holds, and how far an unfinished store is."""

import json
import time
from collections import Counter
from pathlib import Path

import numpy as np

from survey_tools.progress import duration
from survey_tools.store.zarr_store import Store, find_begun, open_begun

PLANNED = "planned.json"  # in the unfinished work of a fetch: how many files hold objects of its catalogue


def summarise(store: Store) -> list[tuple[str, str]]:
    """Describe a store: objects, sky, noise, seeing, size on disk, origin.

    Parameters
    ----------
    store : Store
        The store.

    Returns
    -------
    list of tuple of str
        Label and text of each line.
    """
    status = Counter(store.manifest()["status"])
    rows, cols = store.size, store.size
    chunks = store.chunks()
    lines = [("SYNTHETIC", store.synthetic)] if store.synthetic else []
    lines += [
        ("survey", f"{store.survey['title']}, {store.survey['source']}"),
        ("bands", " ".join(store.bands)),
        ("objects", f"{len(store)}: " + ", ".join(f"{status[s]} {s}" for s in ("done", "outside", "failed"))),
        ("usable", f"{int(store.usable.sum())} with data in every pixel of every band"),
        ("images", f"{rows} x {cols} pixels of {store.pixel_scale} arcsec, nanomaggy/pixel"),
        *([("planes", " ".join(store.planes))] if store.planes else []),
        ("sky", sky_range(store.column("ra"), store.column("dec"))),
        ("sky sigma", _per_band(store, "sky_sigma", "{:.4f}", "nanomaggy/pixel, median")),
        ("seeing", _per_band(store, "psf_fwhm", "{:.2f}", f"arcsec, median FWHM{_seeing_from(store)}")),
        ("gain", _per_band(store, "gain", "{:.0f}", "electron/nanomaggy, median")),
        *_consistency(store),
        ("chunks", f"{len(chunks)} of at most {chunks[0].stop - chunks[0].start if chunks else 0} objects"),
        ("on disk", f"{_bytes_in(store.path) / 1e6:.1f} MB in {store.path}")
        if isinstance(store.path, Path)
        else ("address", str(store.path)),
    ]
    lines += [(key, str(value)) for key, value in store.settings.items()]
    version = f"galtrans {store.attributes['galtrans_version']}, schema version {store.attributes['schema_version']}"
    return [*lines, ("made by", version)]


def summarise_begun(path: Path) -> list[tuple[str, str]]:
    """Describe a store that is being made, or that an interrupted command has left.

    Parameters
    ----------
    path : Path
        Where the finished store will be.

    Returns
    -------
    list of tuple of str
        Label and text of each line.

    Raises
    ------
    StoreError
        No store was begun there.
    """
    part = find_begun(path)
    store = open_begun(part, mode="r")
    chunks = store.chunks()
    return [
        ("NOT FINISHED", f"{path} is being made, or was interrupted: the same command resumes it"),
        ("survey", f"{store.survey['title']}, {store.survey['source']}"),
        ("bands", " ".join(store.bands)),
        ("objects", f"{len(store)}, on {store.size} x {store.size} pixels of {store.pixel_scale} arcsec"),
        *_cut(part / ".work"),
        ("chunks", _of(sorted(_written(part)), len(chunks), "chunks written")),
        ("on disk", f"{_bytes_in(part) / 1e6:.1f} MB in {part}"),
        *((key, str(value)) for key, value in store.settings.items()),
    ]


def _cut(work: Path) -> list[tuple[str, str]]:
    """Return how many files a fetch has cut; nothing for other commands."""
    if not (work / PLANNED).exists():
        return []
    planned = json.loads((work / PLANNED).read_text())["files"]
    return [("files", _of(sorted((work / "cutouts").rglob("*.npy")), planned, "files cut"))]


def _written(part: Path) -> list[Path]:
    """Return the files that the builder keeps, one for each chunk that is written."""
    return list((part / ".work" / "chunks").glob("*.npz"))


def _of(there: list[Path], count: int, what: str) -> str:
    """Return how many of `count` are done, and when the last of them was done."""
    said = f"{len(there):,} of {count:,} {what}"
    if not there:
        return said
    last = max(path.stat().st_mtime for path in there)
    return f"{said} ({100 * len(there) / max(count, 1):.0f} %), the last {duration(time.time() - last)} ago"


def sky_range(ra: np.ndarray, dec: np.ndarray) -> str:
    """Return the smallest range of right ascension and of declination that holds all positions.

    The range of right ascension goes across 0 if need be. Objects whose position is unknown, NaN, are left out.

    Parameters
    ----------
    ra, dec : ndarray
        (object,) positions [deg].

    Returns
    -------
    str
        The range in words.
    """
    if len(ra) == 0:
        return "no objects"
    known = np.isfinite(ra) & np.isfinite(dec)
    if not known.any():
        return "no positions"
    around, dec = np.sort(np.mod(ra[known], 360)), dec[known]
    gaps = np.diff(around, append=around[0] + 360)
    widest = int(np.argmax(gaps))
    first, last = around[(widest + 1) % len(around)], around[widest]
    return f"RA {first:.4f} to {last:.4f} deg, Dec {dec.min():+.4f} to {dec.max():+.4f} deg (ICRS)"


def _per_band(store: Store, name: str, pattern: str, unit: str) -> str:
    """Return the median of a column in each band."""
    values = store.column(name)
    medians = [np.median(v[np.isfinite(v)]) if np.isfinite(v).any() else None for v in values.T]
    shown = ("unknown" if m is None else pattern.format(m) for m in medians)
    return "  ".join(f"{band} {text}" for band, text in zip(store.bands, shown, strict=True)) + f"  [{unit}]"


def _seeing_from(store: Store) -> str:
    """Return where the seeing is from, as words that follow others; "" if the store does not say it."""
    found = [name for name in np.unique(store.column("psf_source")) if name]
    return f", from {', '.join(found)}" if found else ""


def _consistency(store: Store) -> list[tuple[str, str]]:
    """Return what a translated store says of its agreement with its input; nothing for other stores."""
    if "consistency" not in store.columns:
        return []
    return [("consistency", _per_band(store, "consistency", "{:.2f}", "chi2 a pixel, median; about 1 is right"))]


def _bytes_in(folder: Path) -> int:
    """Return the sum of the sizes of all files in a folder and its subfolders [byte]."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
