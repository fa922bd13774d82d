import pytest

from survey_tools import SURVEYS
from survey_tools.surveys import SDSS, find_survey

NAMES = sorted(SURVEYS)


def test_cutouts_of_all_surveys_span_the_same_angle_to_half_a_pixel():
    sides = {name: survey.cutout_size * survey.pixel_scale for name, survey in SURVEYS.items()}
    assert max(sides.values()) - min(sides.values()) < SDSS.pixel_scale / 2


@pytest.mark.parametrize("name", NAMES)
def test_a_row_is_found_by_its_name(name):
    assert find_survey(name) is SURVEYS[name]
    assert SURVEYS[name].name == name


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"no survey is called 'hsc'; known are sdss, cfht"):
        find_survey("hsc")


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
    assert 15 < survey.zero_point < 35
    assert len(survey.source) > 20


def test_the_surveys_of_the_paper():
    """Lin, Fouchez & Pasquet (2021): five bands; 64 × 64 of 0.396", and 136 × 136 of 0.187" (0.186 before rounding)."""
    facts = {name: ("".join(s.bands), s.cutout_size, s.pixel_scale) for name, s in SURVEYS.items()}
    assert facts == {"sdss": ("ugriz", 64, 0.396), "cfht": ("ugriz", 136, 0.186)}
