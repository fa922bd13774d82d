"""Surveys from outside: of a file, of an installed package, and of a script."""

import os
import pickle
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest
from astropy.io import fits

from survey_tools import SURVEYS, load_surveys, register_survey, surveys
from survey_tools.archives.known import ARCHIVES
from survey_tools.archives.plan import Access
from survey_tools.archives.tiles import Calibration
from survey_tools.errors import ArchiveError, ArgumentError, SurveyError
from survey_tools.surveys import FILES, GROUP, OWN, Surveys

MINE = replace(SURVEYS["des"], name="mine", title="Mine", marks=("Mine",))
CALIBRATED = """
from dataclasses import replace

from survey_tools import SURVEYS
from survey_tools.archives.tiles import Calibration
from survey_tools.errors import ArchiveError
from survey_tools.fits.reading import header_number

MINE = replace(SURVEYS["des"], name="mine", title="Mine")


def calibrate(name, header):
    if "MYZERO" not in header:
        raise ArchiveError(f"{name} has no MYZERO")
    return Calibration(header_number(name, header, "MYZERO", 0.0))
"""


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    """What a test adds is forgotten afterwards."""
    monkeypatch.setenv(FILES, "")
    yield
    for name in set(SURVEYS) - set(OWN):
        del SURVEYS[name]


@pytest.fixture
def survey_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(CALIBRATED)
    return path


def opened(name, tmp_path):
    return ARCHIVES[name].open(Access(tmp_path, mirror=str(tmp_path)))


def test_a_registered_survey_is_found_and_has_an_archive(tmp_path):
    register_survey(MINE)
    assert SURVEYS["mine"] is MINE
    assert list(ARCHIVES) == [*OWN, "mine"]
    archive = opened("mine", tmp_path)
    assert archive.calibrate("a.fits", fits.Header({"MAGZERO": 29.0})).zero_point == 29.0
    with pytest.raises(ArchiveError, match="states no zero point"):
        archive.calibrate("a.fits", fits.Header())


def one_zero_point(name, header):
    return Calibration(31.0)


def test_a_registered_survey_may_have_a_calibration_and_an_archive_of_its_own(tmp_path):
    register_survey(MINE, calibrate=one_zero_point)
    assert opened("mine", tmp_path).calibrate("a.fits", fits.Header()).zero_point == 31.0
    theirs = replace(ARCHIVES["des"], survey=replace(MINE, name="theirs"))
    register_survey(theirs.survey, archive=theirs)
    assert ARCHIVES["theirs"] is theirs


def test_names_that_clash_and_rows_that_are_not_possible_are_refused():
    with pytest.raises(ArgumentError, match="the survey name 'hsc' is taken by galtrans; choose another one"):
        register_survey(replace(MINE, name="hsc"))
    register_survey(MINE)
    register_survey(MINE)  # the same again changes nothing
    with pytest.raises(ArgumentError, match="the survey name 'mine' is taken by register_survey"):
        register_survey(replace(MINE, pixel_scale=0.3))
    with pytest.raises(ArgumentError, match="name = 'My Survey': give lower-case letters"):
        register_survey(replace(MINE, name="My Survey"))
    with pytest.raises(ArgumentError, match="'des' is not a Survey"):
        register_survey("des")


def test_a_file_gives_rows_and_their_calibration(survey_file, tmp_path):
    (row,) = load_surveys(survey_file)
    assert SURVEYS["mine"] == row
    assert os.environ[FILES] == str(survey_file)
    assert load_surveys(survey_file) == [row]  # the same again changes nothing
    archive = opened("mine", tmp_path)
    assert archive.calibrate("a.fits", fits.Header({"MYZERO": 26.5})).zero_point == 26.5
    with pytest.raises(ArchiveError, match=r"a.fits has no MYZERO"):
        archive.calibrate("a.fits", fits.Header())
    assert archive.facts()["calibration"].startswith("calibrate of mine.py (")


def test_the_calibration_of_a_file_works_in_other_processes(survey_file, tmp_path):
    """It is sent as the path of the file, and each process runs that."""
    load_surveys(survey_file)
    (tmp_path / "archive.pickle").write_bytes(pickle.dumps(opened("mine", tmp_path)))
    script = (
        "import pickle; from astropy.io import fits; from survey_tools import SURVEYS\n"
        f"archive = pickle.load(open({str(tmp_path / 'archive.pickle')!r}, 'rb'))\n"
        "print(archive.calibrate('a.fits', fits.Header({'MYZERO': 26.5})).zero_point, 'mine' in SURVEYS)"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=os.environ)
    assert ended.stdout.split() == ["26.5", "True"]


def test_another_version_of_a_file_is_another_calibration(survey_file, tmp_path):
    load_surveys(survey_file)
    before = opened("mine", tmp_path).facts()["calibration"]
    del SURVEYS["mine"]
    other = tmp_path / "other" / "mine.py"
    other.parent.mkdir()
    other.write_text(CALIBRATED + "\n# changed\n")
    load_surveys(other)
    assert opened("mine", tmp_path).facts()["calibration"] != before


def test_a_file_that_was_changed_is_read_again_and_its_older_calibration_is_not_used(survey_file, tmp_path):
    load_surveys(survey_file)
    older = opened("mine", tmp_path).calibrate
    survey_file.write_text(CALIBRATED.replace('title="Mine"', 'title="Mine again"'))
    (row,) = load_surveys(survey_file)
    assert SURVEYS["mine"].title == row.title == "Mine again"
    with pytest.raises(SurveyError, match=r"mine.py has changed since its survey was read; run the command again"):
        older("a.fits", fits.Header({"MYZERO": 26.5}))


def test_of_a_file_all_surveys_are_added_or_none(survey_file):
    survey_file.write_text(CALIBRATED + 'HSC = replace(MINE, name="hsc")')
    with pytest.raises(SurveyError, match="the survey name 'hsc' is taken by galtrans"):
        load_surveys(survey_file)
    assert "mine" not in SURVEYS


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SurveyError, match=r"none.py does not exist, so no survey can be read from it"):
        load_surveys(tmp_path / "none.py")


def test_packages_add_rows_and_a_broken_one_is_named_in_a_warning(monkeypatch, caplog):
    package = ModuleType("package_of_surveys")
    package.MINE, package.NUMBER = MINE, 3
    monkeypatch.setitem(sys.modules, package.__name__, package)
    places = {"broken": "none_such:ROW", "good": package.__name__, "wrong": f"{package.__name__}:NUMBER"}
    points = [EntryPoint(name, value, GROUP) for name, value in places.items()]
    monkeypatch.setattr(surveys, "entry_points", lambda group: points if group == GROUP else [])
    monkeypatch.setitem(
        sys.modules, __name__, sys.modules[test_packages_add_rows_and_a_broken_one_is_named_in_a_warning.__module__]
    )
    table = Surveys(OWN)
    assert table["des"] is OWN["des"]
    assert not caplog.records  # nothing is loaded for a survey that is known
    assert list(table) == [*OWN, "mine"]
    assert table.registered("mine").origin.endswith("entry point good")
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert "entry point broken are left out: No module named 'none_such'" in said[0]
    assert "entry point wrong are left out: " in said[1]
    assert "\n" not in "".join(said)


def test_the_environment_names_files_and_a_broken_one_is_named_in_a_warning(survey_file, monkeypatch, caplog):
    monkeypatch.setenv(FILES, os.pathsep.join(["/none/such.py", str(survey_file)]))
    monkeypatch.setattr(surveys, "entry_points", lambda group: [])
    assert list(Surveys(OWN)) == [*OWN, "mine"]
    (record,) = caplog.records
    assert record.getMessage().startswith("surveys of /none/such.py are left out: ")
