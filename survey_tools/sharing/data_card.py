"""The README.md of shared objects: a data card of the Hugging Face Hub."""

from dataclasses import dataclass

import numpy as np

from survey_tools.progress import size as in_bytes
from survey_tools.sharing.front_matter import front_matter
from survey_tools.sharing.selection import StoreSelection
from survey_tools.store.summary import sky_range
from survey_tools.store.zarr_store import Store
from survey_tools.version import VERSION

MOST = 1_000_000  # objects of which medians are taken: of more objects, each n-th one
SIMULATED = "drawn by galtrans simulate: NOT an observation"
NO_LICENCE = "No licence is stated here."
SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B", "1B<n<10B")
ACKNOWLEDGEMENTS = {  # by survey: where it says how it wants to be acknowledged
    "sdss": "https://www.sdss.org/collaboration/citing-sdss/",
    "cfht": "https://www.cfht.hawaii.edu/Science/CFHTLS/",
    "hsc": "https://hsc-release.mtk.nao.ac.jp/",
    "des": "https://www.darkenergysurvey.org/the-des-project/data-access/",
    "legacy": "https://www.legacysurvey.org/acknowledgment/",
    "ps1": "https://panstarrs.stsci.edu/",
    "kids": "https://kids.strw.leidenuniv.nl/",
}


@dataclass(frozen=True)
class Shared:
    """What was written, for its descriptions.

    Attributes
    ----------
    selection : StoreSelection
        The objects.
    name : str
        Name of the data set.
    form : str
        "webdataset" or "hats".
    files : dict of str to tuple
        SHA-256 and bytes of each data file, by its path in the folder.
    origin : str
        SHA-256 that identifies the content of the store.
    license : str
        What the user states as the licence; "" if nothing.
    """

    selection: StoreSelection
    name: str
    form: str
    files: dict[str, tuple[str, int]]
    origin: str
    license: str = ""

    @property
    def synthetic(self) -> str:
        """Words that say that the images are no observations; "" if they are."""
        return not_observed(self.selection.store)


def not_observed(store: Store) -> str:
    """Return words that say that a network made the pixels of a store, or a simulation; "" for observations."""
    settings = store.settings
    while isinstance(settings, dict):
        if settings.get("made_by") == "galtrans simulate":
            return store.synthetic or SIMULATED
        source = settings.get("source")
        settings = source.get("settings") if isinstance(source, dict) else None
    if store.synthetic or not len(store):
        return store.synthetic
    return SIMULATED if (store.column("psf_source", slice(0, 1)) == "simulation").any() else ""


def size_category(count: int) -> str:
    """Return the words of the Hub for a number of objects."""
    return SIZES[min(max(len(str(count)) - 3, 0), len(SIZES) - 1)]


def data_card(shared: Shared) -> str:
    """Return the data card of shared objects, as Markdown."""
    selection, store = shared.selection, shared.selection.store
    tags = [
        "astronomy",
        "galaxies",
        "images",
        store.survey["name"],
        shared.form,
        *["synthetic"] * bool(shared.synthetic),
    ]
    facts = {"license": shared.license} if shared.license else {}
    facts |= {"pretty_name": shared.name, "tags": tags, "size_categories": [size_category(len(selection.rows))]}
    facts["configs"] = [{"config_name": "default"} | CONFIGS[shared.form](shared.name)]
    return (
        front_matter(facts)
        + "\n"
        + "\n".join([*_what(shared), *_contents(shared), *_numbers(selection), *_origin(shared)])
    )


CONFIGS = {  # by form: where the Hub finds the data
    "webdataset": lambda name: {"data_files": f"{name}-*.tar"},
    "hats": lambda _: {"data_dir": "dataset"},
}


def _what(shared: Shared) -> list[str]:
    """Return what the data are."""
    selection, store = shared.selection, shared.selection.store
    count, side, bands = len(selection.rows), store.size, " ".join(selection.bands)
    lines = [f"# {shared.name}", ""]
    if shared.synthetic:
        lines += [f"**SYNTHETIC: {shared.synthetic}.**", ""]
    kind = f"imitate {store.survey['title']}" if shared.synthetic else f"are from {store.survey['title']}"
    lines += [
        f"Images of {count:,} object{'' if count == 1 else 's'} in the bands {bands}, cut out by galtrans. They {kind} "
        f"({store.survey['source']}).",
        "",
        "| | |",
        "|---|---|",
        f"| objects | {count:,} |",
        f"| bands | {bands}, in this order |",
        f"| images | {side} x {side} pixels of {store.pixel_scale:g} arcsec |",
        "| unit | nanomaggy/pixel: AB magnitude = 22.5 - 2.5 log10(flux); NaN where there is no pixel |",
        f"| sky | {sky_of(selection)} |",
        f"| files | {len(shared.files):,}, {in_bytes(sum(length for _, length in shared.files.values()))} |",
    ]
    lines += [f"| left out: {reason} | {number:,} |" for reason, number in selection.left_out.items()]
    return [*lines, ""]


def sky_of(selection: StoreSelection) -> str:
    """Return the part of the sky that the objects cover, in words."""
    ra, dec = (_sample(selection, name) for name in ("ra", "dec"))
    return sky_range(ra, dec)


def _sample(selection: StoreSelection, name: str) -> np.ndarray:
    """Return a column of at most `MOST` of the objects, taken at equal steps."""
    rows = selection.rows[:: -(-len(selection.rows) // MOST) or 1]
    store, found = selection.store, []
    for part in store.column_parts():
        here = rows[(rows >= part.start) & (rows < part.stop)]
        if len(here):
            found.append(store.column(name, part)[here - part.start])
    return np.concatenate(found) if found else store.column(name, slice(0, 0))


def _contents(shared: Shared) -> list[str]:
    """Return what the files have, and how they are read."""
    heading, content, note = CONTENTS[shared.form]
    table = [f"| {name} | {words} |" for name, words in content.items()]
    lines = [f"## {heading}", "", "| name | content |", "|---|---|", *table, "", note, ""]
    return [*lines, "## How to load it", "", "```python", *SNIPPETS[shared.form](shared.name), "```", ""]


CONTENTS = {  # by form: a heading, what is in the files, and a note
    "webdataset": (
        "What a sample has",
        {
            "`images.npy`": "(band, row, col) float32 [nanomaggy/pixel]",
            "`mask.npy`": "(band, row, col) bool: True where a pixel is missing or saturated",
            "`json`": "the numbers below; null where one is unknown",
            "`object_id`, `row`": "identifier; row of the store",
            "`ra`, `dec`, `redshift`": "position [deg, ICRS]; redshift in the catalogue",
            "`bands`": "the bands, in the order of the arrays and of the lists that follow",
            "`psf_fwhm`, `psf_source`": "full width at half maximum of stars [arcsec], and what tells it",
            "`sky_sigma`": "standard deviation of a pixel of blank sky [nanomaggy/pixel]",
            "`gain`, `zero_point`": "electrons of one nanomaggy; AB magnitude of one unit of the source file",
            "`coverage`, `saturated`": "fraction of the pixels that have data; number of saturated pixels",
            "`source`": "files that the pixels are from",
            "`wcs`": "keywords of FITS, which `astropy.wcs.WCS` takes",
        },
        "Planes of a translated store are further arrays of that shape, such as `signal.npy`. The table "
        "`objects.parquet` says which object is in which shard.",
    ),
    "hats": (
        "What a row has",
        {
            "`object_id`, `ra`, `dec`, `redshift`": "the object; position [deg, ICRS]",
            "`image.band`": "survey and band, such as `sdss-r`",
            "`image.flux`": "(band, row, col) float32 [nanomaggy/pixel]",
            "`image.ivar`": "1/sigma^2 of blank sky; 0 in masked pixels, NaN where the noise is unknown",
            "`image.mask`": "True where a pixel can be USED, False where it is missing or saturated",
            "`image.psf_fwhm`, `image.scale`": "full width at half maximum of stars [arcsec]; [arcsec/pixel]",
            "`image.sky_sigma`, `image.gain`, ...": "further columns of the store, one number for each band",
            "`healpix`, `_healpix_29`": "HEALPix pixel, nested, of order 4 and of order 29",
            "`crval1` ... `cd2_2`": "the TAN WCS, as in FITS",
            "`row`": "row of the store",
        },
        "Names and types up to `image.scale` are those of the image catalogues of the Multimodal Universe in HATS.",
    ),
}
SNIPPETS = {  # by form: code that reads the first object
    "webdataset": lambda name: [
        "import glob",
        "",
        "import webdataset",
        "",
        f'shards = sorted(glob.glob("{name}-*.tar"))',
        "for sample in webdataset.WebDataset(shards, shardshuffle=False).decode():",
        '    images, mask, about = sample["images.npy"], sample["mask.npy"], sample["json"]',
        '    print(about["object_id"], about["bands"], images.shape)',
        "    break",
    ],
    "hats": lambda _: [
        "import lsdb",
        "import numpy as np",
        "",
        'catalogue = lsdb.open_catalog(".")  # the folder of this file',
        "first = catalogue.head(1).iloc[0]",
        'flux = np.stack([np.stack(band) for band in first["image"]["flux"]])',
        'print(first["object_id"], list(first["image"]["band"]), flux.shape)',
    ],
}


def _numbers(selection: StoreSelection) -> list[str]:
    """Return the table of noise and seeing."""
    words = {"sky_sigma": "noise of blank sky [nanomaggy/pixel]", "psf_fwhm": "seeing, FWHM [arcsec]"}
    lines = ["## Noise and seeing", "", "Medians over the objects whose value is known:", ""]
    lines += [f"| | {' | '.join(selection.bands)} |", "|---" * (1 + len(selection.bands)) + "|"]
    bands = [selection.store.bands.index(band) for band in selection.bands]
    for name, label in words.items():
        values = _sample(selection, name)[:, bands].astype(float)
        known = (column[np.isfinite(column)] for column in values.T)
        lines.append(f"| {label} | " + " | ".join(f"{np.median(v):.4g}" if len(v) else "unknown" for v in known) + " |")
    return [*lines, ""]


def _origin(shared: Shared) -> list[str]:
    """Return where the data are from, and under which terms."""
    store = shared.selection.store
    title, place = store.survey["title"], ACKNOWLEDGEMENTS.get(store.survey["name"])
    terms = f"Licence, as stated by who shared the data: {shared.license}." if shared.license else NO_LICENCE
    if shared.synthetic == SIMULATED:
        terms += f" The images are drawn; none of {title} is in them."
    else:
        terms += f" Images of a survey come under its terms: acknowledge {title} as it asks for"
        terms += f", {place}." if place else "."
    return [
        "## Where it is from",
        "",
        f"- Survey: {title}, {store.survey['source']}.",
        f"- Store: `{store.path.name}`, made by galtrans {store.attributes['galtrans_version']}.",
        f"- SHA-256 of the content of the store: `{shared.origin}`.",
        *(f"- {key}: {value}" for key, value in store.settings.items() if _is_public(value)),
        f"- Exported by galtrans {VERSION}.",
        "",
        "## Licence and acknowledgement",
        "",
        terms,
        "",
    ]


def _is_public(value: object) -> bool:
    """Return whether a setting is a plain value, and not a path on somebody's machine."""
    return isinstance(value, str | int | float) and not str(value).startswith(("/", "~", "."))
