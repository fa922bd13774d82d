"""What the pages say, as far as a machine can tell: commands and options are there, and so are links and settings."""

import re
from dataclasses import fields
from pathlib import Path

import click
import pytest
from astropy.table import Table
from click.testing import CliRunner

from cli.main import galtrans
from survey_tools.archives.cfht import vizier
from survey_tools.archives.download.hosts import MORE_HOSTS
from survey_tools.archives.settings import ArchiveSettings, variable

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")])
LINES = re.compile(r"^(?:\w+=\S+ )?galtrans .*$", re.MULTILINE)  # in blocks of sh
SPANS = re.compile(r"`galtrans ([^`]+)`")  # within a sentence

pages = pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])


def test_there_is_something_to_test():
    assert sum(len(commands(page)) for page in PAGES) > 30


@pages
def test_commands_are_such_that_the_command_line_understands(page):
    for line in commands(page):
        command, words = find(line.split("#")[0].split())
        # the group's settings: a command remembers those with which it was first asked for its --help
        context = click.Context(command, **galtrans.context_settings)
        given, _, _ = command.make_parser(context).parse_args([*words])  # fails where one is unknown
        for parameter in command.params:
            value = given.get(parameter.name)
            assert value is not None or not parameter.required, f"{line}: {parameter.name} is missing"
            if isinstance(value, str | tuple | list) and isinstance(parameter.type, click.Choice):
                assert set([value] if isinstance(value, str) else value) <= set(parameter.type.choices), line


@pages
def test_commands_and_options_in_sentences_are_there(page):
    for said in SPANS.findall(page.read_text()):
        command, words = find(said.split())
        known = {option for parameter in command.params for option in parameter.opts + parameter.secondary_opts}
        assert command is not galtrans, said
        assert {word for word in words if word.startswith("-")} <= known, said


@pages
def test_links_lead_to_files_and_headings(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        name, _, heading = target.partition("#")
        if not re.match(r"[a-z]+:", target):
            there = page.parent / name if name else page
            assert there.exists(), target
            assert not heading or heading in headings(there), target


def test_every_page_is_in_the_menu():
    menu = re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(menu) == sorted(page.name for page in PAGES if page.parent.name == "docs")


def test_the_table_of_settings_is_that_of_the_program():
    text = (ROOT / "docs" / "fetch.md").read_text()
    rows = [
        f"| `{variable(each.name)}` | `{each.default}` | {each.metadata['what']} |" for each in fields(ArchiveSettings)
    ]
    assert "\n".join(rows) in text, "\n".join(["it should be:", *rows])
    assert {*re.findall(r"GALTRANS_[A-Z0-9_]+", text)} == {variable(each.name) for each in fields(ArchiveSettings)} | {
        MORE_HOSTS
    }


def test_the_steps_from_nothing_to_pairs_work_as_they_are_written(
    tmp_path, archive_server, small_archive, known_sky, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(vizier.FIELDS, "W1", vizier.Field("W1", (149.5, 150.5), (1.5, 2.5)))  # where the small sky is
    steps = re.search(r"## Step by step\n+```sh\n(.*?)```", (ROOT / "docs" / "fetch.md").read_text(), re.DOTALL)[1]
    small = small_archive.small_archive(tmp_path / "archive", known_sky, fields=(100, 101))
    with archive_server.serve(small.archive) as server:
        for name, value in server.environ(tmp_path / "cache").items():
            monkeypatch.setenv(name, value)
        for line in LINES.findall(steps.replace("--test-size 2500", "--test-size 0")):
            result = CliRunner().invoke(galtrans, line.split()[1:], catch_exceptions=False)
            assert result.exit_code == 0, line + result.output
    made = {path.name for path in tmp_path.iterdir()} - {"archive", "cache"}
    assert made == {
        "sdss-targets.fits",
        "cfht-targets.fits",
        "few.ecsv",
        "few.zarr",
        "sdss.zarr",
        "cfht.zarr",
        "pairs.ecsv",
    }
    assert len(Table.read(tmp_path / "pairs.ecsv")) == 3


def commands(page: Path) -> list[str]:
    """The lines in blocks of sh that call galtrans, from there on."""
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL)
    return [line.partition("galtrans ")[2] for block in blocks for line in LINES.findall(block)]


def find(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that the first words name, and the words after."""
    command = galtrans
    while words and isinstance(command, click.Group) and (next_one := command.get_command(None, words[0])):
        command, words = next_one, words[1:]
    return command, words


def headings(page: Path) -> set[str]:
    """The headings of a page, as links name them."""
    found = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in found}
