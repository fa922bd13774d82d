"""CFHTLS Wide stacks at the CADC: whole files, cut here, or windows that the CADC cuts. The pixels are the same."""

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from astropy.io import fits
from astropy.table import Table

from survey_tools.archives.cfht.stack_list import EDGE_TOLERANCE, File, Stack, read_roster
from survey_tools.archives.cfht.windows import HEADERS, Windows, beginning_of
from survey_tools.archives.download.mirror import Mirror
from survey_tools.archives.fits_files import ImageFile, image_file, is_image_of, shape_of
from survey_tools.archives.plan import Access, FetchPlan, Piece, SkyPositions, SourceFile, option, require_bands
from survey_tools.archives.tiles import (
    Calibrate,
    Calibration,
    choose,
    name_of,
    own_grid,
    piece,
    reader,
    with_seeing,
)
from survey_tools.errors import ArchiveError
from survey_tools.files import whole_file
from survey_tools.fits.reading import open_pixels
from survey_tools.fits.zeros import rounding_of
from survey_tools.images.quality import SAMPLE_SIZE, SAMPLES, Read, apply_weights, noise_of_unit_weight
from survey_tools.images.sky_wcs import pixels_of
from survey_tools.progress import size
from survey_tools.surveys import Survey
from survey_tools.tasks import Run

WAYS = ("windows", "tiles")
HEADER = 3 * 2880  # [byte] of a window, which has the header of its stack
REQUEST_SECONDS = 2.0  # from a request to the first byte, with the redirect on the way; an estimate
WINDOW_SECONDS = 0.05  # for the CADC to cut one; an estimate, until the first windows of a run are measured
MEASURED = 8  # windows of one request that are measured

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CfhtOptions:
    """The options that only the archive of CFHTLS has.

    Attributes
    ----------
    how : str
        How to ask the CADC for pixels: as whole "tiles", as "windows" that it cuts, or "auto", which takes what ends
        sooner. A mirror has whole tiles.
    """

    how: str = option(
        "auto",
        "of the live archive, download whole tiles of 1.5 GB, or windows that the archive cuts. auto takes the faster "
        "way.",
        choices=("auto", "tiles", "windows"),
        shown="auto",
    )

    @property
    def seeing(self) -> bool:
        """Whether the seeing at each object is wanted: it is part of every stack."""
        return True


class StackRequest(NamedTuple):
    """A request to the CADC: a stack, in one of WAYS."""

    stack: Stack
    way: str


class Opened(NamedTuple):
    """A file in use: the header of its image, and a function that reads windows of it."""

    header: fits.Header
    read: Read


class Pace(NamedTuple):
    """The time that the CADC takes for a request of windows: for the request itself, and for each window [s]."""

    request: float = REQUEST_SECONDS
    window: float = WINDOW_SECONDS


class Cost(NamedTuple):
    """The expected cost of a request: bytes, requests, and the time that the archive works for it [s]."""

    bytes: int
    requests: int
    wait: float


@dataclass(frozen=True)
class Stacks:
    """The stacks of the CADC's list.

    Attributes
    ----------
    survey : Survey
        The row of CFHT.
    access : Access
        How to reach the CADC.
    calibrate : callable
        Reads the calibration that a header states.
    options : CfhtOptions
        The options of this archive alone.
    """

    survey: Survey
    access: Access
    calibrate: Calibrate
    options: CfhtOptions = CfhtOptions()

    def facts(self) -> dict[str, str]:
        """Return the settings that the pixels depend on besides catalogue and bands; both ways give the same."""
        stacks = f"CFHTTERAPIX T0007 {self.access.settings.cadc_observations}"
        weights = "where the CADC has them" if self.access.settings.cadc_weights else "no"
        return {"archive": "CADC", "stacks": stacks, "calibration": name_of(self.calibrate), "weights": weights}

    def plan(self, catalogue: Table, bands: tuple[str, ...], run: Run) -> FetchPlan:
        """Return which stacks to ask for which objects, by the list alone, and in which way.

        An object is cut from the pointing that has most of the bands; if several have as many, from the one on which it
        lies farthest from the edge.

        Raises
        ------
        ArchiveError
            If the list cannot be read, or has no stack of a band.
        ConnectionError
            If the CADC cannot be reached.
        ValueError
            If the user's way does not exist.
        """
        roster = read_roster(self.access.settings)
        listed = f"the list of {self.access.settings.ways('cadc_tap')}"
        require_bands(listed, self.survey, bands, roster.stacks, roster.unreadable)
        pointings: dict[str, dict[str, Stack]] = {}
        for stack in roster.stacks:
            if stack.band in bands:
                used = stack if self.access.settings.cadc_weights else stack._replace(weight=None)
                pointings.setdefault(stack.observation, {})[stack.band] = used
        images = [{band: stack.on_sky() for band, stack in stacks.items()} for stacks in pointings.values()]
        chosen = choose(images, SkyPositions(catalogue["ra"], catalogue["dec"]), len(catalogue))
        wanted = [
            (stack, rows)
            for index, stacks in enumerate(pointings.values())
            if len(rows := np.flatnonzero(chosen == index))
            for stack in stacks.values()
        ]
        ways, note = self._ways(wanted)
        sources = []
        for (stack, rows), way in zip(wanted, ways, strict=True):
            cost = self._cost(stack, len(rows), way)
            sources.append(SourceFile(stack.name, stack.band, rows, StackRequest(stack, way), *cost))
        sources.sort(key=lambda source: source.name)
        return FetchPlan(sources, roster.unreadable, [*roster.notes, note, *_filters(wanted)])

    def neighbours(self, plan: FetchPlan, lacks: dict[int, np.ndarray], run: Run) -> list[SourceFile]:
        """Return no more stacks: the part of a cutout beyond the edge of its stack is left empty."""
        return []

    def cut(self, source: SourceFile, ra: np.ndarray, dec: np.ndarray) -> Iterator[Piece]:
        """Yield cutouts of one stack around (ra, dec) (n,) [deg], one after the other.

        If the stack has a weight map, it gives the noise of each cutout, and pixels without weight become NaN.

        Raises
        ------
        ArchiveError
            If a file or an answer is missing, short or damaged, or is not the one on the list.
        ConnectionError
            If the CADC cannot be reached.
        """
        stack, way = source.key
        if self.options.how == "auto":
            way = self._reconsidered(stack, way, ra, dec)
        opened = self._whole if way == "tiles" else self._in_windows
        with opened(stack.image) as image:
            if stack.weight is None:
                yield from self._pieces(stack, image, None, ra, dec)
                return
            with opened(stack.weight) as weight:
                yield from self._pieces(stack, image, weight, ra, dec)

    def _pieces(self, stack: Stack, opened: Opened, weight: Opened | None, ra, dec) -> Iterator[Piece]:
        """Yield the cutouts, however pixels and weights are read."""
        image = self._checked(stack, opened.header)
        size, grid = self.survey.cutout_size, own_grid(self.survey, image)
        calibration = self._calibration(stack, opened)
        starts, rounding = grid.starts(ra, dec, size), rounding_of(opened.header)
        if weight is None:
            for start, counts in zip(starts, opened.read(starts, size), strict=True):
                yield piece(self.survey, calibration, counts, grid, start, rounding=rounding)
            return
        if shape_of(weight.header) != image.shape:
            raise ArchiveError(
                f"{stack.weight.uri} has another shape than {stack.image.uri}, to which it belongs; without weights "
                "(GALTRANS_CADC_WEIGHTS=0) the noise is measured"
            )
        unit = self._unit(stack, opened.read, weight.read)
        for start, counts, weights in zip(starts, opened.read(starts, size), weight.read(starts, size), strict=True):
            noise = apply_weights(counts, weights, unit)
            yield piece(self.survey, calibration, counts, grid, start, noise, rounding)

    def _calibration(self, stack: Stack, opened: Opened) -> Calibration:
        """Return the calibration by the header; a seeing that it does not state is measured once on the stack."""
        calibration = self.calibrate(stack.image.uri, opened.header)
        if np.isfinite(calibration.psf_fwhm):
            return calibration
        path = self.access.work / "seeing" / f"{stack.observation}_{stack.filter}.txt"
        if not path.exists():
            measured = with_seeing(self.survey, calibration, opened.read, stack.shape)
            with whole_file(path) as temporary:
                temporary.write_text(repr(measured.psf_fwhm))
        width = float(path.read_text())
        return replace(calibration, psf_fwhm=width, psf_source="stars" if np.isfinite(width) else "")

    def _unit(self, stack: Stack, read: Read, read_weight: Read) -> float:
        """Return the noise at weight 1, measured once per stack."""
        path = self.access.work / "noise" / f"{stack.observation}_{stack.filter}.txt"
        if not path.exists():
            unit = noise_of_unit_weight(read, read_weight, stack.shape, self.survey.no_data)
            with whole_file(path) as temporary:
                temporary.write_text(repr(unit))
        return float(path.read_text())

    def _checked(self, stack: Stack, header: fits.Header) -> ImageFile:
        """Return the image of a header; ArchiveError unless it is the one on the list."""
        name, found = stack.image.uri, str(header.get("FILTER", "")).strip()
        if not is_image_of(self.survey, header) or found.split(".")[-1] != stack.filter.split(".")[-1]:
            raise ArchiveError(f"{name} has FILTER {found!r}; the list of the CADC says {stack.filter}")
        image = image_file(self.survey, header, name)
        if image.shape != stack.shape:
            raise ArchiveError(f"{name} has {image.shape} rows and columns; the list of the CADC says {stack.shape}")
        middle = pixels_of(image.wcs, [stack.centre])[0, ::-1] + 1
        if not (abs(middle / image.shape - 0.5) < EDGE_TOLERANCE).all():
            raise ArchiveError(
                f"{name} does not lie where the list of the CADC has it, with its centre at {stack.centre}"
            )
        return image

    @contextmanager
    def _whole(self, file: File) -> Iterator[Opened]:
        """Yield the header of a file that is downloaded whole, and a function that reads its pixels."""
        mirror = self._files(file)
        with (
            _told(mirror.url(file.name)),
            mirror.file(file.name, size=file.size, md5=file.md5 or None) as path,
            open_pixels(path, file.uri) as (hdu, pixels),
        ):
            yield Opened(hdu.header, reader(pixels))

    @contextmanager
    def _in_windows(self, file: File) -> Iterator[Opened]:
        """Yield the header of a file at the CADC, and a function that reads windows of it."""
        mirror = self._files(file)
        url = mirror.url(file.name)
        with _told(url):
            yield Opened(*self._windows(mirror, file))

    def _windows(self, mirror: Mirror, file: File) -> tuple[fits.Header, Read]:
        """Return the header of a file at the CADC, and a function that reads windows of it."""
        index, header, start = beginning_of(mirror, file.name)
        most, notes = self.access.settings.cadc_windows, self.access.work / "windows"
        return header, Windows(mirror.ways(file.name), index, header, most, notes, mirror.manner, start).at

    def _files(self, file: File) -> Mirror:
        """Return the addresses of the CADC's files; those that end in /pub need only archive and name of a file."""
        roots = self.access.settings.ways("cadc_files").roots
        places = [f"{root}/{'' if root.endswith('/pub') else 'cadc:'}{file.archive}" for root in roots]
        return self.access.files(*places, listed=True)

    def _reconsidered(self, stack: Stack, way: str, ra: np.ndarray, dec: np.ndarray) -> str:
        """Return the way that ends sooner by the measured time of the run's first windows; tell the user if it changes.

        The way is not a setting of a store, because both ways give the same pixels.
        """
        path, count = self.access.work / "windows" / "pace.json", len(ra)
        if not path.exists():
            with whole_file(path) as temporary:
                temporary.write_text(json.dumps(self._measured(stack, ra, dec)))
        pace = Pace(*json.loads(path.read_text()))
        better = self._sooner(*(self._cost(stack, count, each, pace) for each in WAYS))
        if better != way:
            said = path.with_name(f"said {better}")
            tell = log.info if said.exists() else log.warning
            took = f"take {pace.window:.2g} s each, and a request {pace.request:.2g} s"
            took = took if np.isfinite(pace.window) else "do not work"
            tell(
                "windows of the CADC %s; %g s and %g s were assumed: %s, and all that ends sooner in this way, is "
                "fetched as %s",
                took, WINDOW_SECONDS, REQUEST_SECONDS, stack.name, "a whole tile" if better == "tiles" else "windows",
            )  # fmt: skip
            with whole_file(said) as temporary:
                temporary.touch()
        return better

    def _measured(self, stack: Stack, ra: np.ndarray, dec: np.ndarray) -> Pace:
        """Measure a request of one window and one of several; the times are infinite if windows do not work."""
        size, mirror = self.survey.cutout_size, self._files(stack.image)
        try:
            header, read = self._windows(mirror, stack.image)
            starts = own_grid(self.survey, image_file(self.survey, header, stack.image.uri)).starts(ra, dec, size)
            starts = np.unique(starts, axis=0)[:MEASURED]
            list(read(starts[:1], size))  # finds the address that works, and compares a window with the file
            one = _timed(lambda: list(read(starts[:1], size)))
            some = _timed(lambda: list(read(starts, size))) if len(starts) > 1 else one
        except ArchiveError as error:
            log.warning("windows of %s cannot be read: %s", stack.name, error)
            return Pace(np.inf, np.inf)
        window = max(some - one, 0.0) / (len(starts) - 1) if len(starts) > 1 else min(one, WINDOW_SECONDS)
        return Pace(max(one - window, 0.0), window)

    def _ways(self, wanted: list[tuple[Stack, np.ndarray]]) -> tuple[list[str], str]:
        """Return the way to take for each stack, and a remark for the user on both ways."""
        how = self.options.how
        if how not in ("auto", *WAYS):
            raise ValueError(f"how is {how!r}; give auto, {' or '.join(WAYS)}")
        costs = {way: [self._cost(stack, len(rows), way) for stack, rows in wanted] for way in WAYS}
        ways = (
            [how] * len(wanted)
            if how != "auto"
            else [self._sooner(*each) for each in zip(*costs.values(), strict=True)]
        )
        chosen = [costs[way][at] for at, way in enumerate(ways)]
        said = [
            f"{size(sum(each.bytes for each in some))} in {sum(each.requests for each in some):,} requests"
            for some in (*costs.values(), chosen)
        ]
        weights = ", weight maps included" if any(stack.weight for stack, _ in wanted) else ""
        taken = ways[0] if len(set(ways)) == 1 else f"{ways.count('tiles'):,} whole, the others as windows: {said[2]}"
        return ways, f"{self.survey.title}: {said[0]} as windows, {said[1]} as whole tiles{weights}: {taken}"

    def _sooner(self, *costs: Cost) -> str:
        """Return the one of WAYS, with these costs, that ends sooner."""
        speed = 1e6 * self.access.settings.bandwidth
        return WAYS[int(np.argmin([cost.bytes / speed + cost.wait for cost in costs]))]

    def _cost(self, stack: Stack, count: int, way: str, pace: Pace = Pace()) -> Cost:  # noqa: B008
        """Return the expected cost of `count` objects on a stack."""
        files = [stack.image] + [stack.weight] * (stack.weight is not None)
        if way == "tiles":
            total, requests, windows = sum(file.size for file in files), len(files), 0
        else:
            samples = len(SAMPLES) ** 2 if stack.weight else 0
            window = 4 * self.survey.cutout_size**2 + HEADER
            total = len(files) * (HEADERS + count * window + samples * (4 * SAMPLE_SIZE**2 + HEADER))
            batches = -(-count // max(1, self.access.settings.cadc_windows))
            requests, windows = len(files) * (1 + batches + (samples > 0)), len(files) * (count + samples)
        if way == "tiles":
            return Cost(total, requests, requests * (pace.request if np.isfinite(pace.request) else REQUEST_SECONDS))
        return Cost(total, requests, requests * pace.request + windows * pace.window)


def _timed(work: Callable[[], object]) -> float:
    """Return how long something takes [s]."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@contextmanager
def _told(url: str) -> Iterator[None]:
    """Add the address of a file to errors that do not state one."""
    try:
        yield
    except ArchiveError as error:
        if error.url:
            raise
        raise ArchiveError(str(error), url=url) from error


def _filters(wanted: list[tuple[Stack, np.ndarray]]) -> list[str]:
    """Return a remark on a band that was observed through one of two filters."""
    numbers: dict[str, int] = {}
    for stack, rows in wanted:
        if stack.band == "i":
            numbers[stack.filter] = numbers.get(stack.filter, 0) + len(rows)
    said = ", ".join(f"{count:,} through {name}" for name, count in sorted(numbers.items()))
    return [f"band i: {said}; the column `source` of the store has the filter of each"] if said else []
