"""The description of shared objects for programs: Croissant 1.1 of MLCommons, which is JSON-LD."""

from typing import Any

from survey_tools.sharing.data_card import ACKNOWLEDGEMENTS, Shared
from survey_tools.sharing.shards import IN_TABLE, TABLE
from survey_tools.version import VERSION

CONFORMS_TO = "http://mlcommons.org/croissant/1.1"
FLOAT, INTEGER, TEXT, TRUTH = "sc:Float", "sc:Integer", "sc:Text", "sc:Boolean"
CONTEXT = {  # the words of Croissant 1.1, as its specification lists them
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "description": {"@container": "@language"},
    "name": {"@container": "@language"},
}
WORDS = """
    arrayShape citeAs column containedIn equivalentProperty extract field fileProperty fileObject fileSet format
    includes isArray isLiveDataset jsonPath key md5 parentField path recordSet references regex repeated replace
    samplingRate separator source subField transform
"""
TAR, PARQUET = "application/x-tar", "application/x-parquet"
IN_SHARDS = {"key": (TEXT, "key of the sample"), "shard": (TEXT, "tar file that has it")}
PLAIN = {  # columns of an object: type, meaning
    "object_id": (TEXT, "identifier of the object"),
    "ra": (FLOAT, "right ascension [deg, ICRS]"),
    "dec": (FLOAT, "declination [deg, ICRS]"),
    "redshift": (FLOAT, "redshift in the catalogue"),
    "row": (INTEGER, "row of the store"),
}
OF_BANDS = {  # columns with a number for each band: meaning
    "psf_fwhm": "full width at half maximum of stars [arcsec]",
    "sky_sigma": "standard deviation of a pixel of blank sky [nanomaggy/pixel]",
    "gain": "electrons of one nanomaggy",
    "zero_point": "AB magnitude of one unit of the source file",
    "coverage": "fraction of the pixels that have data",
    "saturated": "number of saturated pixels",
    "consistency": "chi2 a pixel of the input under the translation",
}


def describe(shared: Shared) -> dict[str, Any]:
    """Return the content of croissant.json.

    Parameters
    ----------
    shared : Shared
        What was written.

    Returns
    -------
    dict
        JSON-LD.
    """
    store, bands = shared.selection.store, " ".join(shared.selection.bands)
    said = f"SYNTHETIC: {shared.synthetic}. " if shared.synthetic else ""
    said += (
        f"Images of {len(shared.selection.rows):,} objects of {store.survey['title']} in the bands {bands}, "
        f"{store.size} x {store.size} pixels of {store.pixel_scale:g} arcsec, in nanomaggy/pixel. Exported by galtrans "
        f"{VERSION} from a store whose content has the SHA-256 {shared.origin}."
    )
    about = {
        "@context": CONTEXT | {word: f"cr:{word}" for word in WORDS.split()},
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": shared.name,
        "description": said,
    }
    if shared.license:
        about["license"] = shared.license
    if place := ACKNOWLEDGEMENTS.get(store.survey["name"]):
        about["isBasedOn"] = place
    about["keywords"] = ["astronomy", "galaxies", store.survey["title"], *["synthetic"] * bool(shared.synthetic)]
    distribution, records = FORMS[shared.form](shared)
    return about | {"distribution": distribution, "recordSet": records}


def _webdataset(shared: Shared) -> tuple[list, list]:
    """Return files and records of tar files, and of the table beside them."""
    files = [_file(name, digest, length) for name, (digest, length) in shared.files.items()]
    inside = [{"@id": file["@id"]} for file in files if file["encodingFormat"] == TAR]
    picture = "(band, row, col) float32 [nanomaggy/pixel]"
    arrays = {"images": picture, "mask": "(band, row, col) bool: True where a pixel is missing or saturated"}
    arrays |= {plane: f"{picture}: {words}" for plane, words in _planes(shared).items()}
    sets = [_file_set(f"{name}-files", "application/x-npy", f"*.{name}.npy", inside) for name in arrays]
    sets.append(_file_set("json-files", "application/json", "*.json", inside))
    bands = (len(shared.selection.bands),)
    columns = {name: (kind, words, ()) for name, (kind, words) in (IN_SHARDS | PLAIN).items()}
    columns |= {name: (FLOAT, OF_BANDS[name], bands) for name in _numbers(shared)}
    source = {"fileObject": {"@id": TABLE}}
    fields = [
        _field("objects", name, kind, words, source | {"extract": {"column": name}}, shape)
        for name, (kind, words, shape) in columns.items()
    ]
    paths = [
        _record_set(name, [_field(name, "path", TEXT, f"file with {words}", _path_of(f"{name}-files"))])
        for name, words in arrays.items()
    ]
    return [*files, *sets], [_record_set("objects", fields), *paths]


def _file(name: str, digest: str, length: int) -> dict:
    """Return a file that is there as such."""
    about = {"@type": "cr:FileObject", "@id": name, "name": name, "contentUrl": name, "contentSize": f"{length} B"}
    return about | {"encodingFormat": PARQUET if name == TABLE else TAR, "sha256": digest}


def _planes(shared: Shared) -> dict[str, str]:
    """Return the planes of the store, and what they are."""
    return {name: str(shared.selection.store.attributes["planes"][name]) for name in shared.selection.store.planes}


def _numbers(shared: Shared) -> list[str]:
    """Return the columns with a number for each band that the store has."""
    return [name for name in IN_TABLE if name in shared.selection.store.columns]


def _path_of(file_set: str) -> dict:
    """Return the source of a field that names a file of a set."""
    return {"fileSet": {"@id": file_set}, "extract": {"fileProperty": "fullpath"}}


def _hats(shared: Shared) -> tuple[list, list]:
    """Return files and records of Parquet files."""
    selection = shared.selection
    source, bands, side = {"fileSet": {"@id": "partition-files"}}, len(selection.bands), selection.store.size
    fields = [
        _field("objects", name, kind, words, source | {"extract": {"column": name}})
        for name, (kind, words) in PLAIN.items()
    ]
    picture = (bands, side, side)
    inner = {
        "band": (TEXT, "survey and band", (bands,)),
        "flux": (FLOAT, "flux [nanomaggy/pixel]; NaN where there is no pixel", picture),
        "ivar": (FLOAT, "1/sigma^2 of blank sky; 0 in masked pixels, NaN where the noise is unknown", picture),
        "mask": (TRUTH, "True where a pixel can be used", picture),
        "scale": (FLOAT, "pixel scale [arcsec/pixel]", (bands,)),
    }
    inner |= {name: (FLOAT, OF_BANDS[name], (bands,)) for name in _numbers(shared)}
    inner |= {plane: (FLOAT, words, picture) for plane, words in _planes(shared).items()}
    image = {"@type": "cr:Field", "@id": "objects/image", "name": "image", "description": "images in all bands"}
    image["subField"] = [
        _field(
            "objects/image",
            name,
            kind,
            words,
            source | {"extract": {"column": "image"}, "transform": {"jsonPath": name}},
            shape,
        )
        for name, (kind, words, shape) in inner.items()
    ]
    return (
        [_file_set("partition-files", PARQUET, "dataset/Norder=*/Dir=*/Npix=*.parquet", [])],
        [_record_set("objects", [*fields, image])],
    )


FORMS = {"webdataset": _webdataset, "hats": _hats}


def _file_set(name: str, kind: str, includes: str, inside: list) -> dict:
    """Return files that a pattern names."""
    where = {"containedIn": inside} if inside else {}
    return {"@type": "cr:FileSet", "@id": name, "name": name} | where | {"encodingFormat": kind, "includes": includes}


def _record_set(name: str, fields: list) -> dict:
    """Return records of the same fields."""
    return {"@type": "cr:RecordSet", "@id": name, "name": name, "field": fields}


def _field(record: str, name: str, kind: str, words: str, source: dict, shape: tuple[int, ...] = ()) -> dict:
    """Return a field of a record: a value, or an array of some shape."""
    many = {"isArray": True, "arrayShape": ",".join(map(str, shape))} if shape else {}
    about = {"@type": "cr:Field", "@id": f"{record}/{name}", "name": name, "description": words, "dataType": kind}
    return about | many | {"source": source}
