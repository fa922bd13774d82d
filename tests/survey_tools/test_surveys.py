import json
from dataclasses import asdict, fields, replace

import pytest

from survey_tools import SURVEYS
from survey_tools.surveys import SDSS, bands_apart, check_row, find_survey, row_of

NAMES = sorted(SURVEYS)
OF_PAPER = ("sdss", "cfht")


@pytest.mark.parametrize("name", NAMES)
def test_cutouts_span_the_angle_of_sdss_to_a_few_per_cent(name):
    survey = SURVEYS[name]
    assert abs(survey.cutout_size * survey.pixel_scale / (SDSS.cutout_size * SDSS.pixel_scale) - 1) < 0.03
    assert survey.cutout_size % 8 == 0


@pytest.mark.parametrize("name", NAMES)
def test_a_row_is_found_by_its_name(name):
    assert find_survey(name) is SURVEYS[name]
    assert SURVEYS[name].name == name


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(
        ValueError, match=r"no survey is called 'lsst'; known are sdss, cfht, hsc, des, legacy, ps1, kids"
    ):
        find_survey("lsst")


@pytest.mark.parametrize("name", NAMES)
def test_filters_stand_for_the_bands_of_the_survey(name):
    survey = SURVEYS[name]
    assert set(survey.filters.values()) == set(survey.bands)
    assert len(set(survey.bands)) == len(survey.bands)


@pytest.mark.parametrize("name", NAMES)
def test_facts_are_possible_and_have_a_source(name):
    survey = SURVEYS[name]
    assert 0.01 < survey.pixel_scale < 10
    assert 8 <= survey.cutout_size <= 1024
    assert 15 < survey.zero_point < 35 or (survey.zero_point == 0 and survey.zero_point_fixed)
    assert len(survey.source) > 20
    assert survey.release
    assert survey.marks
    check_row(survey, "galtrans")


def test_the_surveys_of_the_paper():
    """Lin, Fouchez & Pasquet (2021): five bands; 64 × 64 of 0.396", and 136 × 136 of 0.187" (0.186 before rounding)."""
    facts = {
        name: ("".join(SURVEYS[name].bands), SURVEYS[name].cutout_size, SURVEYS[name].pixel_scale) for name in OF_PAPER
    }
    assert facts == {"sdss": ("ugriz", 64, 0.396), "cfht": ("ugriz", 136, 0.186)}


@pytest.mark.parametrize("name", NAMES)
def test_a_row_comes_back_from_the_attributes_of_a_store(name):
    stored = json.loads(json.dumps(asdict(SURVEYS[name])))
    assert row_of(stored) == SURVEYS[name]


def test_a_row_of_an_older_store_gets_the_defaults_and_one_of_a_newer_store_loses_what_is_unknown():
    first = (
        "name",
        "title",
        "bands",
        "pixel_scale",
        "zero_point",
        "cutout_size",
        "filters",
        "no_data",
        "north_up",
        "source",
    )
    stored = {key: value for key, value in asdict(SDSS).items() if key in first} | {"a_fact_of_tomorrow": 1}
    row = row_of(stored)
    assert row.filter_keywords == ("FILTER",)
    assert row.flags is None
    assert replace(row, **{each.name: getattr(SDSS, each.name) for each in fields(SDSS)}) == SDSS


@pytest.mark.parametrize("name", NAMES)
def test_every_band_has_the_name_of_its_curve(name):
    assert set(SURVEYS[name].curves) == set(SURVEYS[name].bands)


def test_bands_of_one_name_may_have_two_curves():
    assert bands_apart(SURVEYS["hsc"], SURVEYS["des"])["g"] == ("HSC g", "DECam g")
    assert "u" not in bands_apart(SURVEYS["cfht"], SURVEYS["des"])
    assert bands_apart(SURVEYS["des"], SURVEYS["legacy"]) == {}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("SDSS", {"sdss"}),
        ("CFHT 3.6m", {"cfht"}),
        ("Hyper Suprime-Cam", {"hsc"}),
        ("DES", {"des"}),
        ("DESI Legacy Imaging Surveys", {"legacy"}),
        ("DECam", {"des", "legacy"}),
        ("LegacySurvey", {"legacy"}),
        ("PS1", {"ps1"}),
        ("OMEGACAM", {"kids"}),
        ("KiDS", {"kids"}),
        ("Design study", set()),
    ],
)
def test_a_text_names_surveys_by_their_marks(text, names):
    assert {name for name, row in SURVEYS.items() if row.is_named_in(text)} == names
