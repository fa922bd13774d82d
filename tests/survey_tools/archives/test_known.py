from dataclasses import fields, replace

import pytest

from cli.fetch import fetch
from cli.main import galtrans
from survey_tools import SURVEYS
from survey_tools.archives.known import ARCHIVES
from survey_tools.archives.plan import Access
from survey_tools.errors import ArgumentError


def test_every_survey_has_an_archive():
    assert list(ARCHIVES) == list(SURVEYS)


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_opens_a_mirror_with_its_own_options_and_without_any(name, tmp_path):
    known, access = ARCHIVES[name], Access(tmp_path, mirror=str(tmp_path))
    assert known.open(access).facts() == known.open(access, known.options()).facts()
    assert known.open(access).survey == known.survey == SURVEYS[name]
    assert isinstance(known.images_only, known.options)
    assert known.options().seeing


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_is_asked_or_says_in_one_line_how_to_get_its_files(name, tmp_path):
    known = ARCHIVES[name]
    if known.live:
        assert known.open(Access(tmp_path)).survey == SURVEYS[name]
        return
    with pytest.raises(ArgumentError, match="https://") as error:
        known.open(Access(tmp_path))
    assert error.value.argument == "mirror"
    assert "\n" not in str(error.value)
    assert "`mirror`" in str(error.value)


@pytest.mark.parametrize("name", ARCHIVES)
def test_the_command_has_every_option_of_an_archive_and_leaves_the_default_to_it(name):
    context = fetch.make_context(
        "fetch", [name, "--catalogue", __file__, "--out", "x.zarr"], **galtrans.context_settings
    )
    for each in fields(ARCHIVES[name].options):
        assert context.params[each.name] is None


def test_a_survey_from_outside_has_its_tiles_in_a_folder(tmp_path, monkeypatch):
    mine = replace(SURVEYS["des"], name="mine", title="Mine")
    monkeypatch.setitem(SURVEYS, "mine", mine)
    archive = ARCHIVES["mine"].open(Access(tmp_path, mirror=str(tmp_path)))
    assert archive.survey == mine
    assert archive.facts()["calibration"] == "survey_tools.archives.coadds.calibrate(mine)"
    with pytest.raises(ArgumentError, match="download tiles of Mine, and give the folder as `mirror`"):
        ARCHIVES["mine"].open(Access(tmp_path))
