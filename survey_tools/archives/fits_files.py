"""Images of a survey in an archive's FITS files: found by their headers, opened, and read in parts.

A file may have several images, the chips of a mosaic. Each is then an image of its own, called `FILE[HDU]`.
"""

import logging
import re
from collections.abc import Callable, Hashable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from astropy.io import fits
from astropy.wcs import WCS

from survey_tools.archives.download.http import NotThereError
from survey_tools.archives.download.mirror import Mirror
from survey_tools.errors import ArchiveError, first_line
from survey_tools.fits.companions import said_by_header, said_by_name
from survey_tools.fits.reading import (
    SUFFIXES,
    UNREADABLE,
    FitsPixels,
    Hdu,
    damaged,
    decompressed,
    images_of,
    open_pixels,
    opened,
    walk,
)
from survey_tools.images.sky_wcs import plain_tan, read_grid
from survey_tools.surveys import Survey
from survey_tools.tasks import Run

log = logging.getLogger(__name__)

A_PART = re.compile(r"(.*)\[(\d+)\]", re.DOTALL)
Note = Callable[[fits.Header], Hashable]  # a function of a module, so that it can be sent to other processes


@dataclass(frozen=True)
class ImageFile:
    """An image of a survey, described by its header.

    Attributes
    ----------
    name : str
        Name of the file, relative to the mirror; for one of several images with the number of its HDU, `FILE[2]`.
    band : str
        Band, by the keyword of its filter.
    shape : (int, int)
        Rows and columns of its pixels.
    wcs : WCS
        Celestial WCS of its pixels: plain ICRS TAN terms if these are equivalent (`sky_wcs.plain_tan`), else all that
        the header states.
    note : hashable
        A note of the archive on the header, by which it recognises the image; None without a note.
    """

    name: str
    band: str
    shape: tuple[int, int]
    wcs: WCS
    note: Hashable = None


@dataclass(frozen=True)
class Unreadable:
    """A file that should be an image and cannot be used, with the reason; `band` is "" if it is not known."""

    name: str
    band: str
    reason: str


@dataclass(frozen=True)
class Companion:
    """A file of weights, flags or the like, which is left out; `kind` says what it contains."""

    name: str
    kind: str


def is_image_of(survey: Survey, header: fits.Header) -> bool:
    """Return whether a header is that of an image of this survey, in one of its bands."""
    return survey.band_of(header) is not None


def part_of(name: str) -> tuple[str, int | None]:
    """Return the file and the HDU of an image's name: `FILE[2]` is HDU 2 of FILE, and `FILE` its first image."""
    match = A_PART.fullmatch(name)
    return (match[1], int(match[2])) if match else (name, None)


def describe(
    survey: Survey, mirror: Mirror, name: str, note: Note | None = None
) -> list[ImageFile | Unreadable | Companion]:
    """Return the images of the survey in a file, from its headers alone; none if the file does not exist or has none.

    A file that cannot be used, or that accompanies images, is one entry that says so.

    Parameters
    ----------
    survey : Survey
        Its row.
    mirror : Mirror
        Where the file is.
    name : str
        Name of the file.
    note : callable, optional
        Makes `ImageFile.note` from a header.
    """
    try:
        with mirror.beginning(name) as file, decompressed(file) as stream:
            hdus = _looked_at(stream, name, whole=not mirror.remote, packed=stream is not file)
            ours = [hdu for hdu in hdus if hdu.shape and is_image_of(survey, hdu.header)]
            sky = [hdu for hdu in ours if not said_by_header(hdu.own)]
            kind = said_by_name(name) or next((said_by_header(hdu.own) for hdu in ours if hdu not in sky), "")
            if ours and (said_by_name(name) or not sky):
                return [Companion(name, kind)]
            first = images_of(name, hdus)[:1]
            beyond = hdus[0].own.get("NEXTEND", 0) if hdus else 0
    except NotThereError:
        return []
    except ConnectionError:  # which is not the fault of the file
        raise
    except ArchiveError as error:
        return [Unreadable(name, "", str(error))]
    except UNREADABLE as error:
        return [Unreadable(name, "", str(damaged(name, error)))]
    flags_within = survey.flags is not None and bool(survey.flags.extension)  # then one image and its companions
    if sky and mirror.remote and isinstance(beyond, int) and beyond > hdus[-1].index and not flags_within:
        band = survey.band_of(sky[0].header)
        why = f"{name} has {beyond} extensions, but a web server shows only the first; download it, and pass its folder"
        return [Unreadable(name, band, why)]
    alone = len(sky) == 1 and (sky == first or not first)
    return [_described(survey, hdu, name if alone else f"{name}[{hdu.index}]", note) for hdu in sky]


def _looked_at(stream, name: str, *, whole: bool, packed: bool) -> list[Hdu]:
    """Return the HDUs of a file, as far as it is worthwhile to search for images.

    To read beyond an image under gzip or bzip2, all of it has to be decompressed. This is done only if the first HDU is
    not the image, as in mosaics, or states that more follow (NEXTEND). Only the beginning of a remote file is
    available.
    """
    found = []
    for hdu in walk(stream, name):
        found.append(hdu)
        first = hdu.index == 0 and not hdu.own.get("NEXTEND", 0)
        if hdu.shape and not said_by_header(hdu.own) and (not whole or (packed and first)):
            break
    return found


def _described(survey: Survey, hdu: Hdu, name: str, note: Note | None) -> ImageFile | Unreadable:
    """Return one image of a file."""
    band = survey.band_of(hdu.header)
    if len(hdu.shape) != 2:
        why = (
            f"{name} has {' x '.join(map(str, hdu.shape))} pixels, but an image has two axes; give its planes as files"
        )
        return Unreadable(name, band, why)
    try:
        return image_file(survey, hdu.header, name, note)
    except ArchiveError as error:
        return Unreadable(name, band, str(error))


def scan(
    mirror: Mirror, survey: Survey, run: Run, note: Note | None = None
) -> tuple[list[ImageFile], list[Unreadable]]:
    """Return all images of a survey in a mirror by their headers, sorted by name, and the files that cannot be used."""
    looked = run(partial(describe, survey, mirror, note=note), mirror.names(SUFFIXES), "look", "file")
    found = [each for some in looked for each in some]
    flags = {flags_beside(survey, each.name) for each in found if isinstance(each, ImageFile)}
    left = [each for each in found if isinstance(each, Companion) and each.name not in flags]
    if left:
        more = f" and {len(left) - 1} more files of this kind" if len(left) > 1 else ""
        log.warning("%s is left out, because it is a %s%s", left[0].name, left[0].kind, more)
    images = [file for file in found if isinstance(file, ImageFile)]
    return images, [file for file in found if isinstance(file, Unreadable)]


@contextmanager
def open_image(
    survey: Survey, mirror: Mirror, name: str, *, size: int | None = None, md5: str | None = None
) -> Iterator[tuple[ImageFile, fits.Header, FitsPixels]]:
    """Yield an image of a file, its header and its pixels; the file is opened, and decompressed if necessary, once.

    Parameters
    ----------
    survey : Survey
        Its row.
    mirror : Mirror
        Where the file is.
    name : str
        Name of a file, or of one of its images (`part_of`).
    size : int, optional
        Size that a download must have [byte], if known.
    md5 : str, optional
        MD5 that a download must have, if known.

    Raises
    ------
    ArchiveError
        If the file is not in the mirror, empty, truncated or damaged, not an image of this survey, or has no celestial
        WCS.
    """
    known = {"size": size, "md5": md5} if size or md5 else {}
    file, index = part_of(name)
    with mirror.opened(file, partial(open_pixels, name=name, index=index), **known) as (hdu, pixels):
        header = hdu.header
        if not is_image_of(survey, header):
            said = next((f"{key} {header[key]!r}" for key in survey.filter_keywords if key in header), "no FILTER")
            raise ArchiveError(f"{name} has {said}, which is not a filter of {survey.title}")
        yield image_file(survey, hdu.header, name), header, pixels


@dataclass(frozen=True)
class FlagImage:
    """The companion of an image that flags pixels by bits, open.

    Attributes
    ----------
    name : str
        Its name, for messages.
    pixels : FitsPixels
        Its pixels.
    saturated : int
        Bits that mean a saturated pixel.
    no_data : int
        Bits that mean a pixel without data.
    """

    name: str
    pixels: FitsPixels
    saturated: int
    no_data: int


@contextmanager
def open_flags(survey: Survey, mirror: Mirror, image: ImageFile) -> Iterator[FlagImage | None]:
    """Yield the companion that flags the pixels of an image; None if the survey or the mirror has none.

    Raises
    ------
    ArchiveError
        If the companion is damaged, or has other pixels than the image.
    """
    flags = survey.flags
    if flags is None:
        yield None
        return
    companion = part_of(image.name)[0] if flags.extension else flags_beside(survey, image.name)
    opener = partial(_open_companion, name=companion, extension=flags.extension)
    with ExitStack() as held:
        found = None
        if companion:
            with suppress(NotThereError, FileNotFoundError):
                found = held.enter_context(mirror.opened(companion, opener))
        if found is None:
            yield None
            return
        hdu, pixels = found
        if pixels.shape != image.shape:
            here, there = (" x ".join(map(str, shape)) for shape in (pixels.shape, image.shape))
            raise ArchiveError(f"{companion} flags {here} pixels, but {image.name} has {there}; fetch both again")
        of_band = {
            kind: {
                name: value
                for name, value in planes.items()
                if not flags.by_band or name.upper().endswith(f"_{image.band.upper()}")
            }
            for kind, planes in (("saturated", flags.saturated), ("no_data", flags.no_data))
        }
        yield FlagImage(companion, pixels, *(bits_of(hdu.own, of_band[kind]) for kind in ("saturated", "no_data")))


def flags_beside(survey: Survey, name: str) -> str:
    """Return the name of the file that flags the pixels of an image and lies beside it; "" if the survey has none."""
    if survey.flags is None or not survey.flags.beside[0]:
        return ""
    file = part_of(name)[0]
    companion = re.sub(survey.flags.beside[0], survey.flags.beside[1], file, count=1)
    return "" if companion == file else companion


def bits_of(header: fits.Header, planes: dict[str, int]) -> int:
    """Return the bits of some planes together, as a header states them, or else as the survey publishes them.

    MP_SAT = 1, of the LSST and HSC pipelines, is the number of a bit. MSKNAM05 = 'SAT' with MSKVAL05 = 32, of
    Pan-STARRS1, is its value.
    """
    stated = {str(name).strip(): header.get(f"MSKVAL{key[6:]}") for key, name in header["MSKNAM*"].items()}
    bits = 0
    for name, value in planes.items():
        number = header.get(f"MP_{name}")
        if isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 63:
            value = 1 << number
        elif isinstance(stated.get(name), int):
            value = stated[name]
        bits |= value
    return bits


@contextmanager
def _open_companion(path: Path, name: str, extension: str) -> Iterator[tuple[Hdu, FitsPixels] | None]:
    """Yield the HDU of flags of a file and its pixels: of that EXTNAME, or the first image; None if it has none."""
    with opened(path, name) as (_, hdus):
        images = [hdu for hdu in hdus if len(hdu.shape) == 2]
        named = [hdu for hdu in images if extension in (said_of(hdu, "EXTNAME"), said_of(hdu, "EXTTYPE"))]
        index = next((hdu.index for hdu in (named if extension else images)), None)
    if index is None:
        yield None
        return
    with open_pixels(path, name, index) as found:
        yield found


def said_of(hdu: Hdu, keyword: str) -> str:
    """Return the word, in capitals, that a keyword of an HDU states; "" if there is none."""
    return str(hdu.own.get(keyword, "")).strip().upper()


def shape_of(header: fits.Header) -> tuple[int, int]:
    """Return (rows, columns) of an image, plain or tile-compressed."""
    prefix = "Z" if header.get("ZIMAGE", False) else ""
    return int(header[f"{prefix}NAXIS2"]), int(header[f"{prefix}NAXIS1"])


def image_file(survey: Survey, header: fits.Header, name: str, note: Note | None = None) -> ImageFile:
    """Return an image, described by its header; ArchiveError if it states no celestial WCS."""
    shape = shape_of(header)
    try:
        wcs = read_grid(header, shape)
    except UNREADABLE as error:
        raise ArchiveError(f"{name} has a WCS that cannot be used: {first_line(error)}") from error
    if wcs is None:
        raise ArchiveError(f"{name} has no celestial WCS")
    with suppress(ValueError):  # a WCS that is not plain can still be resampled
        wcs = plain_tan(wcs, shape)
    band = survey.band_of(header)
    return ImageFile(name, band, shape, wcs, None if note is None else note(header))


def without_copies(
    images: list[ImageFile],
    key: Callable[[ImageFile], Hashable],
    preferred: Callable[[ImageFile], bool] = lambda image: True,
) -> list[ImageFile]:
    """Return one image of each `key`, sorted by name. One line reports the others.

    Images whose key is None are all kept. Of several with the same key, one that is `preferred` counts, then the one in
    the fewest folders, then the first by name: the noise-free twin below `truth` gives way to the image, and a
    compressed stack to its uncompressed twin.
    """
    order = sorted(images, key=lambda image: (not preferred(image), image.name.count("/"), image.name))
    kept: dict[Hashable, ImageFile] = {}
    left = [
        (image, kept[key(image)]) for image in order if kept.setdefault(key(image) or image.name, image) is not image
    ]
    if left:
        more = f", and {len(left) - 1} more files for the same reason" if len(left) > 1 else ""
        log.warning("%s is left out, because %s shows the same%s", left[0][0].name, left[0][1].name, more)
    return sorted(kept.values(), key=lambda image: image.name)
