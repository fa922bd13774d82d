import re
from dataclasses import fields

import pytest

from survey_tools.archives.settings import ArchiveSettings, read_settings, variable
from survey_tools.errors import ArchiveError


def test_the_environment_takes_the_place_of_any_setting():
    asked = {
        each.name: "http://here:1/x" if str(each.default).startswith("https://") else "1"
        for each in fields(ArchiveSettings)
    }
    found = read_settings({variable(name): text for name, text in asked.items()})
    assert all(getattr(found, each.name) == type(each.default)(asked[each.name]) for each in fields(ArchiveSettings))
    assert read_settings({}) == ArchiveSettings()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("skyserver_rows", "many"),
        ("skyserver_rows", "0"),
        ("vizier_rows", "-5"),
        ("cadc_windows", "1.5"),
        ("cadc_weights", "2"),
        ("bandwidth", "0"),
        ("bandwidth", "nan"),
        ("bandwidth", "inf"),
    ],
)
def test_a_number_that_cannot_be_is_named_with_its_meaning(name, text):
    with pytest.raises(ArchiveError, match=rf"GALTRANS_{name.upper()} is '{text}'; give a number"):
        read_settings({variable(name): text})


@pytest.mark.parametrize("text", ["data.sdss.org", "ftp://data.sdss.org", "https://", "http://[1", "/data/sas", ""])
def test_what_is_no_web_address_is_named(text):
    with pytest.raises(ArchiveError, match=rf"GALTRANS_SAS is '{re.escape(text)}'; give an address .*: root of"):
        read_settings({"GALTRANS_SAS": text})


def test_an_empty_name_is_none():
    with pytest.raises(ArchiveError, match="GALTRANS_CACHE is ''; give this: folder"):
        read_settings({"GALTRANS_CACHE": ""})


def test_no_weights_is_a_choice():
    assert read_settings({"GALTRANS_CADC_WEIGHTS": "0"}).cadc_weights == 0
