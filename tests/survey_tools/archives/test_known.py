from dataclasses import fields

import pytest

from cli.fetch import fetch
from cli.main import galtrans
from survey_tools import SURVEYS
from survey_tools.archives.known import ARCHIVES
from survey_tools.archives.plan import Access


def test_every_survey_has_an_archive():
    assert list(ARCHIVES) == list(SURVEYS)


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_opens_with_its_own_options_and_without_any(name, tmp_path):
    known, access = ARCHIVES[name], Access(tmp_path)
    assert known.open(access).facts() == known.open(access, known.options()).facts()
    assert known.open(access).survey == SURVEYS[name]
    assert isinstance(known.images_only, known.options)
    assert known.options().seeing


@pytest.mark.parametrize("name", ARCHIVES)
def test_the_command_has_every_option_of_an_archive_and_leaves_the_default_to_it(name):
    context = fetch.make_context(
        "fetch", [name, "--catalogue", __file__, "--out", "x.zarr"], **galtrans.context_settings
    )
    for each in fields(ARCHIVES[name].options):
        assert context.params[each.name] is None
