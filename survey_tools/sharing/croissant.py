"""The description of shared objects for programs: Croissant 1.1 of MLCommons, which is JSON-LD."""

from typing import Any

from survey_tools.sharing.cutouts import A_NUMBER
from survey_tools.sharing.data_card import ACKNOWLEDGEMENTS, Shared
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
    """Return files and records of tar files."""
    tars = [
        {
            "@type": "cr:FileObject",
            "@id": name,
            "name": name,
            "contentUrl": name,
            "contentSize": f"{length} B",
            "encodingFormat": "application/x-tar",
            "sha256": digest,
        }
        for name, (digest, length) in shared.files.items()
    ]
    inside = [{"@id": tar["@id"]} for tar in tars]
    sets = [
        _file_set("description-files", "application/json", "*.json", inside),
        _file_set("image-files", "application/x-npy", "*.images.npy", inside),
        _file_set("mask-files", "application/x-npy", "*.mask.npy", inside),
    ]
    source = {"fileSet": {"@id": "description-files"}}
    fields = [
        _field("objects", name, kind, words, source | {"extract": {"jsonPath": f"$.{name}"}})
        for name, (kind, words) in PLAIN.items()
    ]
    columns, bands = shared.selection.store.columns, len(shared.selection.bands)
    fields += [
        _field("objects", name, FLOAT, words, source | {"extract": {"jsonPath": f"$.{name}"}}, (bands,))
        for name, words in OF_BANDS.items()
        if name in columns
    ]
    pixels = (
        ("images", "image-files", "(band, row, col) float32 [nanomaggy/pixel]"),
        ("masks", "mask-files", "(band, row, col) bool: True where a pixel is missing or saturated"),
    )
    paths = [
        _record_set(each, [_field(each, "path", TEXT, f"file with {words}", _path_of(files))])
        for each, files, words in pixels
    ]
    return [*tars, *sets], [_record_set("objects", fields), *paths]


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
    inner |= {name: (FLOAT, OF_BANDS[name], (bands,)) for name in A_NUMBER if name in selection.store.columns}
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
        [_file_set("partition-files", "application/x-parquet", "dataset/Norder=*/Dir=*/Npix=*.parquet", [])],
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
