import json

import pytest
from click.testing import CliRunner

from cli.main import galtrans
from survey_tools import SURVEYS
from survey_tools.errors import SurveyError
from survey_tools.surveys import FILES, OWN

FICTIVE = """
from survey_tools import Survey

NORTH = Survey(
    name="north",
    title="North",
    release="first",
    bands=("g", "r"),
    pixel_scale=0.3,
    zero_point=28.0,
    cutout_size=80,
    filters={"N-G": "g", "N-R": "r"},
    curves={"g": "Camera g", "r": "Camera r"},
    no_data=None,
    north_up=False,
    source="a survey that was made up",
)
"""


def run(*words):
    return CliRunner().invoke(galtrans, [str(word) for word in words], catch_exceptions=False)


@pytest.fixture
def survey_file(tmp_path, monkeypatch):
    """A file with a survey of one's own, which the process forgets afterwards."""
    monkeypatch.setenv(FILES, "")
    path = tmp_path / "north.py"
    path.write_text(FICTIVE)
    yield path
    SURVEYS.pop("north", None)


def test_the_table_has_a_line_for_every_survey():
    lines = run("surveys").output.splitlines()
    assert lines[0].split() == ["name", "title", "release", "bands", "pixel", "cutout", "archive"]
    told = {line.split()[0]: line for line in lines[1 : 1 + len(SURVEYS)]}
    assert list(told) == list(SURVEYS)
    assert told["sdss"].split() == ["sdss", "SDSS", "DR12", "ugriz", '0.396"', "64", '(25.3")', "live"]
    assert told["hsc"].split()[-1] == "mirror"
    said = "\n".join(lines)
    for row in OWN.values():
        assert f"{row.name}: {row.source}" in said
    assert "it needs an account" in said


def test_everything_is_there_as_json():
    rows = {row["name"]: row for row in json.loads(run("surveys", "--json").output)}
    assert list(rows) == list(SURVEYS)
    assert rows["ps1"]["filters"]["g.00000"] == "g"
    assert rows["ps1"]["flags"]["saturated"] == {"SAT": 32}
    assert rows["hsc"]["archive"] == "mirror"
    assert rows["cfht"]["hint"] == ""
    assert rows["des"]["origin"] == "galtrans"


def test_two_surveys_are_compared():
    said = run("surveys", "hsc", "cfht").output
    assert "r has one name and two curves: HSC r2 and MegaPrime r.MP9601" in said
    assert "two curves" not in run("surveys", "des", "legacy").output
    assert "sdss" not in said


def test_an_unknown_name_is_refused_with_the_known_ones():
    ended = run("surveys", "lsst")
    assert ended.exit_code == 2
    assert "'lsst' is not a known survey; give one of sdss, cfht, hsc, des, legacy, ps1, kids" in ended.output


@pytest.mark.parametrize("order", ["group", "command"])
def test_a_survey_of_a_file_is_known_to_the_command(order, survey_file):
    option = ("--survey-file", survey_file)
    ended = run(*option, "surveys", "north") if order == "group" else run("surveys", "north", *option)
    assert ended.exit_code == 0
    assert '0.3"' in ended.output
    assert "download tiles of North, and give the folder as --mirror" in ended.output


@pytest.mark.parametrize("name", ["fetch", "ingest", "translate", "train", "evaluate", "simulate", "crossmatch"])
def test_commands_that_name_surveys_take_files_of_surveys(name):
    assert "--survey-file FILE.py" in run(name, "--help").output


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("x = 1", "has no Survey; give it a value such as MINE"),
        ("x = ", "SyntaxError: "),
        ("raise KeyError('no such thing')", "KeyError: 'no such thing'"),
        (FICTIVE.replace('"north"', '"hsc"'), "the survey name 'hsc' is taken by galtrans; choose another one"),
        (FICTIVE.replace("cutout_size=80", "cutout_size=81"), "cutout_size = 81: give a multiple of 8"),
        (FICTIVE.replace('("g", "r")', '("g", "r", "i")'), "filters stand for gr, and bands are gri"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_line(survey_file, content, words):
    survey_file.write_text(content)
    with pytest.raises(SurveyError) as error:
        run("--survey-file", survey_file, "surveys")
    assert words in str(error.value)
    assert str(survey_file) in str(error.value)
    assert "\n" not in str(error.value)
    assert list(SURVEYS) == list(OWN)
