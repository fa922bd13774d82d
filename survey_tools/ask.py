"""The functions by which users ask the archives: for targets, for their settings, and whether they are as expected."""

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any

from survey_tools.accept import Tell, a_path, a_survey, silent
from survey_tools.archives.targets import Found, write_targets
from survey_tools.errors import ArgumentError
from survey_tools.surveys import SURVEYS, Survey, bands_apart


def find_targets(
    survey: str,
    *,
    out: Any = None,
    sample: str = "main-galaxies",
    fields: Iterable[str] | None = None,
    rmin: float = 10.0,
    rmax: float = 19.7,
    max_class: float | None = None,
    where: str = "",
    limit: int | None = None,
    tell: Tell = silent,
) -> Found:
    """Ask an archive for galaxies: spectroscopic ones of SDSS DR12, or those of CFHTLS Wide T0007.

    Parameters
    ----------
    survey : str
        "sdss" (asked at SkyServer) or "cfht" (asked at VizieR, table II/317).
    out : path-like, optional
        A catalogue to write: .ecsv, .fits or .csv.
    sample : str
        Of SDSS: the name of a sample. "main-galaxies" is that of Pasquet et al. (2019).
    fields : iterable of str, optional
        Of CFHTLS: the fields W1 to W4; by default all.
    rmin, rmax : float
        Of CFHTLS: the brightest and the faintest Kron-like magnitude in r [AB].
    max_class : float, optional
        Of CFHTLS: the largest star/galaxy class in r (0 is a galaxy, 1 a star).
    where : str
        A further condition, in SQL (SkyServer) or ADQL (VizieR).
    limit : int, optional
        Take this many rows at most.
    tell : callable
        Is given the address that is asked, before it is asked.

    Returns
    -------
    Found
        Its ``table`` has one row for each object; its other attributes say how many rows were counted and dropped.

    Raises
    ------
    ArgumentError, ArchiveError, ConnectionError
        The arguments are wrong, the archive refuses, or it cannot be reached.
    """
    path = None if out is None else a_path(out, "out")
    find, _, _ = _asked_archive(survey, sample, fields, rmin, rmax, max_class, where, tell)
    found = find(limit)
    if path is not None:
        write_targets(found, path)
    return found


@dataclass(frozen=True)
class Counted:
    """How many rows an archive has of a selection.

    Attributes
    ----------
    url : str
        The service that was asked.
    rows : dict of str to int
        By part of the selection: the sample, or each field.
    at_once : int
        Rows that are asked for at once.
    """

    url: str
    rows: dict[str, int]
    at_once: int


def count_targets(
    survey: str,
    *,
    sample: str = "main-galaxies",
    fields: Iterable[str] | None = None,
    rmin: float = 10.0,
    rmax: float = 19.7,
    max_class: float | None = None,
    where: str = "",
    tell: Tell = silent,
) -> Counted:
    """Count the rows that `find_targets` would take; its arguments are the same."""
    _, count, (url, at_once) = _asked_archive(survey, sample, fields, rmin, rmax, max_class, where, tell)
    return Counted(url, count(), at_once)


def _asked_archive(survey, sample, fields, rmin, rmax, max_class, where, tell) -> tuple[Callable, Callable, tuple]:
    """Functions that find and count the targets of a survey, and the service with its rows at once."""
    from survey_tools.archives.sdss import skyserver
    from survey_tools.archives.settings import read_settings

    try:
        where = skyserver.check_where(where) if where else ""
    except ValueError as error:
        raise ArgumentError("where", str(error)) from error
    if survey not in TARGETS:
        raise ArgumentError("survey", f"{survey!r} has no table of targets; give one of {', '.join(TARGETS)}")
    selection = {"sample": sample, "fields": fields, "rmin": rmin, "rmax": rmax, "max_class": max_class}
    return TARGETS[survey](read_settings(), where, tell, selection)


def _sdss_targets(settings, where, tell, selection) -> tuple[Callable, Callable, tuple]:
    """SpecObjAll and PhotoObjAll of SDSS DR12, at SkyServer."""
    from survey_tools.archives.sdss import skyserver
    from survey_tools.archives.sdss.samples import SAMPLES

    sample = selection["sample"]
    if sample not in SAMPLES:
        raise ArgumentError("sample", f"{sample!r}: known are {', '.join(SAMPLES)}")
    url, chosen = str(settings.ways("skyserver")), SAMPLES[sample]
    tell(url)
    return (
        lambda limit: skyserver.find(settings, chosen, where, limit),
        lambda: {sample: skyserver.count(settings, chosen, where)},
        (url, settings.skyserver_rows),
    )


def _cfht_targets(settings, where, tell, selection) -> tuple[Callable, Callable, tuple]:
    """Table II/317 of CFHTLS Wide T0007, at VizieR."""
    from survey_tools.archives.cfht import vizier

    fields, rmin, rmax = selection["fields"], selection["rmin"], selection["rmax"]
    names = tuple(fields) if fields is not None else tuple(vizier.FIELDS)
    if not names or len(set(names)) != len(names) or not set(names) <= set(vizier.FIELDS):
        raise ArgumentError("fields", f"{','.join(names)!r}: give each field once, out of {','.join(vizier.FIELDS)}")
    if rmin >= rmax:
        raise ArgumentError("rmin", f"{rmin:g} is not brighter than `rmax` {rmax:g}")
    wanted = vizier.TargetSelection(rmin, rmax, selection["max_class"], where)
    patches, url = [vizier.FIELDS[name] for name in names], str(settings.ways("vizier_tap"))
    tell(url)
    return (
        lambda limit: vizier.find(settings, patches, wanted, limit),
        lambda: {patch.name: vizier.count(settings, patch, wanted) for patch in patches},
        (url, settings.vizier_rows),
    )


TARGETS = {"sdss": _sdss_targets, "cfht": _cfht_targets}  # surveys that have a table of targets


@dataclass(frozen=True)
class SurveyFacts:
    """What galtrans knows of a survey, and of its archive.

    Attributes
    ----------
    row : Survey
        Its row.
    facts : dict
        The attributes of the row by name, and: ``archive`` ("live" if `fetch` asks the archive itself, "mirror" if it
        needs a mirror), ``mirror`` (what a mirror has), ``hint`` (how to get files for one; "" for live archives), and
        ``origin`` (where the row is from). They can be written as JSON.
    """

    row: Survey
    facts: dict[str, Any]

    def apart(self, other: "SurveyFacts") -> dict[str, tuple[str, str]]:
        """Return the bands that both surveys call by one name, and the curves of both where they differ."""
        return bands_apart(self.row, other.row)


def describe_surveys(names: Iterable[str] = ()) -> list[SurveyFacts]:
    """Return what is known of some surveys and of their archives.

    Parameters
    ----------
    names : iterable of str
        Their names; by default all of `SURVEYS`.

    Returns
    -------
    list of SurveyFacts

    Raises
    ------
    ArgumentError
        If a name is not known.

    Examples
    --------
    >>> from survey_tools import describe_surveys
    >>> [each.facts["archive"] for each in describe_surveys(["sdss", "hsc"])]
    ['live', 'mirror']
    """
    from survey_tools.archives.known import ARCHIVES  # takes a second to load

    found = []
    for row in [a_survey(name, "names") for name in names] or SURVEYS.values():
        known, outside = ARCHIVES[row.name], SURVEYS.registered(row.name)
        facts = asdict(row) | {
            "archive": "live" if known.live else "mirror",
            "mirror": known.files,
            "hint": "" if known.live else known.how_to_get_files(),
            "origin": "galtrans" if outside is None else outside.origin,
        }
        found.append(SurveyFacts(row, facts))
    return found


@dataclass(frozen=True)
class ArchiveOption:
    """An option of `fetch` that only the archives of some surveys have.

    Attributes
    ----------
    name : str
        Its name.
    is_flag : bool
        Whether it is yes or no.
    choices : tuple of str
        The values that it may have; () if it may have any.
    default : str
        Its default, in words.
    meaning : dict of str to str
        Name of a survey to what the option does there.
    """

    name: str
    is_flag: bool
    choices: tuple[str, ...]
    default: str
    meaning: dict[str, str]


def archive_options() -> list[ArchiveOption]:
    """Return the options of `fetch` that only some archives have, as their dataclasses describe them."""
    from survey_tools.archives.known import ARCHIVES  # takes a second to load

    found: dict[str, ArchiveOption] = {}
    for survey, known in ARCHIVES.items():
        for each in dataclasses.fields(known.options):
            said = each.metadata
            is_flag = isinstance(each.default, bool) or said.get("is_flag", False)
            new = ArchiveOption(each.name, is_flag, said.get("choices", ()), said.get("shown", ""), {})
            option = found.setdefault(each.name, new)
            option.meaning[survey] = said.get("what", "")
            if said.get("choices") and option.choices:
                both = dict.fromkeys((*option.choices, *said["choices"]))
                found[each.name] = dataclasses.replace(option, choices=tuple(both))
    return list(found.values())


@dataclass(frozen=True)
class ArchiveSetting:
    """One setting of the live archives: its name, value and default, what it is, and the variable that sets it."""

    name: str
    value: Any
    default: Any
    what: str
    variable: str


def archive_settings() -> list[ArchiveSetting]:
    """The addresses and limits of the live archives, as they are set now."""
    from survey_tools.archives.settings import ArchiveSettings, read_settings, variable

    now, defaults = read_settings(), ArchiveSettings()
    return [
        ArchiveSetting(
            each.name, getattr(now, each.name), getattr(defaults, each.name), each.metadata["what"], variable(each.name)
        )
        for each in fields(ArchiveSettings)
    ]


def check_archives(only: Iterable[str] = (), *, tell: Tell = silent) -> bool:
    """Ask the live archives what their documentation leaves open, a few megabytes in all.

    Parameters
    ----------
    only : iterable of {"sdss", "cadc", "vizier", "legacy", "ps1"}
        Archives to ask; by default all.
    tell : callable
        Is given a line for each question, and the verdict at the end.

    Returns
    -------
    bool
        Whether every answer is as galtrans expects.
    """
    import time

    from survey_tools.archives.download.reach import unreachable
    from survey_tools.archives.settings import SERVICES, read_settings, variable

    known = tuple(SERVICES)
    archives, settings, start = tuple(only) or known, read_settings(), time.monotonic()
    unknown = [name for name in archives if name not in known]
    if unknown:
        raise ArgumentError("only", f"{unknown[0]!r}: known are {', '.join(known)}")
    if why := unreachable(settings.addresses(archives)):
        tell(
            f"Verdict: no archive can be reached from this machine: {why}; is it on the internet? Where it has to go "
            "through a proxy, HTTPS_PROXY names that."
        )
        return False
    from survey_tools.archives.check import run_checks, verdict  # takes a second to load

    findings = []
    for asked, finding in run_checks(settings, archives):
        findings.append((asked, finding))
        words = " ".join(f"{asked.question} {finding.answer}".split())
        tell(f"{asked.archive}: {words} [{variable(asked.setting)} {finding.verdict}]")
    tell(verdict(findings, time.monotonic() - start))
    return all(finding.good for _, finding in findings)
