"""Check the pages against the program: commands, options, links, settings, keywords, measures, and code that runs."""

import importlib.util
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import click
import pytest
from astropy.io import fits
from astropy.table import Table
from click.testing import CliRunner

from cli.main import galtrans
from survey_tools.archives.cfht import vizier
from survey_tools.archives.download.hosts import MORE_HOSTS
from survey_tools.archives.settings import ArchiveSettings, variable
from survey_tools.surveys import FILES

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*(ROOT / f"{name}.md" for name in ("README", "CHANGELOG", "CONTRIBUTING")), *DOCS.rglob("*.md")])
TUTORIALS = sorted((DOCS / "tutorials").glob("*.py"))
PAGES += TUTORIALS
MADE = {"reference/command_line.md"}  # pages that docs/pages.py makes
LINES = re.compile(r"^(?:\w+=\S+ )?galtrans .*$", re.MULTILINE)  # in blocks of sh
SPANS = re.compile(r"`galtrans ([^`]+)`")  # within a sentence


def python_of(page: Path) -> list[str]:
    """The blocks of Python of a page."""
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL) if page.suffix == ".md" else []


pages = pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])


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
    for said in SPANS.findall(text_of(page)):
        command, words = find(said.split())
        known = {option for parameter in command.params for option in parameter.opts + parameter.secondary_opts}
        assert command is not galtrans, said
        assert {word for word in words if word.startswith("-")} <= known, said


@pages
def test_links_lead_to_files_and_headings(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        name, _, heading = target.partition("#")
        if not re.match(r"[a-z]+:", target):
            there = page.parent / name if name else page
            if f"{there.resolve().relative_to(ROOT)}".removeprefix("docs/") in MADE:
                continue
            assert there.exists(), target
            assert not heading or heading in headings(there), target


@pages
def test_files_that_a_page_names_exist(page):
    said = re.findall(r"`((?:survey_tools|translator|cli|tests|benchmarks|docs)/[\w./-]+)`", text_of(page))
    assert [path for path in said if not (ROOT / path).exists()] == []


def test_every_page_is_in_the_menu():
    menu = re.findall(r"(?:- |: )(\S+\.(?:md|py))$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    pages = {str(page.relative_to(DOCS)) for page in PAGES if page.is_relative_to(DOCS)} | MADE
    assert sorted(each for each in menu if each != "docs/pages.py") == sorted(pages)


@pytest.fixture(scope="module")
def made():
    """The code that makes parts of the site."""
    spec = importlib.util.spec_from_file_location("pages", DOCS / "pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_settings_in_the_pages_are_those_of_the_program(made):
    known = {variable(each.name) for each in fields(ArchiveSettings)}
    table = made.settings()
    for each in fields(ArchiveSettings):
        assert f"| `{variable(each.name)}` | `{each.default}` | {each.metadata['what']} |" in table
    said = {name for page in PAGES for name in re.findall(r"GALTRANS_[A-Z0-9_]+", text_of(page))}
    assert said <= known | {MORE_HOSTS, FILES}
    assert MORE_HOSTS in (DOCS / "reference" / "settings.md").read_text()


def test_each_table_that_is_made_has_its_place(made):
    text = "".join(text_of(page) for page in PAGES)
    assert all(text.count(mark) == 1 for mark in made.TABLES)


def test_the_page_of_commands_has_every_command_and_option(made):
    page = made.command_line()
    assert len(list(every_command(galtrans, []))) >= 20
    for path, command in every_command(galtrans, ["galtrans"]):
        section = re.search(rf"^#+ {' '.join(path)}\n(.*?)(?=^#+ galtrans|\Z)", page, re.MULTILINE | re.DOTALL)[1]
        for option in (each for each in command.params if isinstance(each, click.Option) and not each.hidden):
            assert all(word in section for word in option.opts + option.secondary_opts), (path, option.opts)


def test_the_page_of_measures_has_every_measure(made):
    from translator.metrics.table import MEASURES

    table = made.measures()
    assert all(f"### `{name}`\n" in table for name in MEASURES)


@pytest.mark.parametrize("package", ["survey_tools", "translator"])
def test_the_page_of_python_has_every_name_of_the_front_door(package):
    module = importlib.import_module(package)
    said = set(re.findall(r"^::: (\S+)$", (DOCS / "reference" / "python.md").read_text(), re.MULTILINE))
    wanted = {f"{where}.{name}" for name, where in module._FROM.items()}
    assert wanted <= said


RUN_ELSEWHERE = {  # pages whose Python is run by a test of its own
    "how-to/add_a_recipe.md": "translator/runs/test_in_words.py",
    "how-to/add_a_survey.md": "test_add_a_survey.py",
    "how-to/cluster.md": "test_slurm.py",
    "how-to/ingest.md": "survey_tools/ingestion/test_ingest.py",
}


@pytest.mark.parametrize("page", [page for page in PAGES if python_of(page)], ids=lambda page: page.name)
def test_python_in_a_page_runs(page, tmp_path, make_store, monkeypatch, capsys):
    name = str(page.relative_to(DOCS)) if page.is_relative_to(DOCS) else page.name
    if name in RUN_ELSEWHERE:
        assert page.name in (ROOT / "tests" / RUN_ELSEWHERE[name]).read_text()
        return
    from survey_tools import export

    monkeypatch.chdir(tmp_path)
    store = make_store("sdss.zarr", "sdss", [150.0, 151.0], [2.0, 2.0], missing=[1])
    export(store, 0, ".").paths[0].rename("my_galaxy.fits")
    for block in python_of(page):
        exec(compile(block, name, "exec"), {"__name__": "example"})
    assert name == "README.md" or "outside" in capsys.readouterr().out
    assert name != "README.md" or fits.getval("my_galaxy_cfht.fits", "GTTO") == "CFHTLS"


STRUCTURE = re.compile(r"SIMPLE|XTENSION|BITPIX|NAXIS\d?|EXTEND|[PG]COUNT|")
WCS = re.compile(r"WCSAXES|CRPIX\d|CRVAL\d|CD\d_\d|CTYPE\d|CUNIT\d|RADESYS|EQUINOX|LONPOLE|LATPOLE")
SET = re.compile(r"""(?:header|primary)\["([A-Z_-]+)"\] = """)


def test_the_page_of_keywords_has_every_card_that_is_written(tmp_path, make_store):
    """Those of a file that is exported and translated, and those that the code may set besides."""
    from survey_tools.fits.export import PER_BAND, export

    store = make_store(tmp_path / "sdss.zarr", "sdss", [150.0], [2.0])
    (path,) = export(store, [0], tmp_path / "fits")
    words = ["translate", "sdss-cfhtls", str(path), "--to", "cfht", "--out", str(tmp_path / "out"), "--draws", "1"]
    result = CliRunner().invoke(galtrans, [*words, "--planes", "--force"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    written = {key for key, _ in PER_BAND.values()}
    for each in (path, *(tmp_path / "out").glob("*.fits")):
        with fits.open(each) as hdus:
            written |= {key for hdu in hdus for key in hdu.header}
    for file in [*(ROOT / "survey_tools" / "fits").glob("*.py"), *(ROOT / "translator" / "translation").glob("*.py")]:
        written |= {*SET.findall(file.read_text())}
    written = {key for key in written if not STRUCTURE.fullmatch(key) and not WCS.fullmatch(key)}
    rows = re.findall(r"^\| (`[A-Z].*?) \|", (DOCS / "reference" / "fits_keywords.md").read_text(), re.MULTILINE)
    stated = {key for row in rows for key in re.findall(r"`([A-Z]+)`", row)}
    assert {"SYNTH", "GTFORCED", "NSATUR", "SKYINBY"} <= written
    assert written == stated


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda each: each.stem)
def test_each_tutorial_runs(tutorial, tmp_path):
    """As a script, in its folder; no warning may come."""
    environment = os.environ | {"MPLBACKEND": "agg", "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-W", "error", tutorial.name]
    ended = subprocess.run(words, cwd=tutorial.parent, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "Warning" not in ended.stderr


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason="no MkDocs here: pip install galtrans[docs]")
def test_the_site_can_be_built(tmp_path):
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    assert subprocess.run(words, cwd=ROOT, check=False).returncode == 0


def test_the_steps_from_nothing_to_pairs_work_as_they_are_written(
    tmp_path, archive_server, small_archive, known_sky, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(vizier.FIELDS, "W1", vizier.Field("W1", (149.5, 150.5), (1.5, 2.5)))  # where the small sky is
    steps = re.search(r"## Step by step\n+```sh\n(.*?)```", (DOCS / "how-to" / "fetch.md").read_text(), re.DOTALL)[1]
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


def text_of(page: Path) -> str:
    """The text of a page; of a tutorial, that of its cells of Markdown."""
    text = page.read_text()
    if page.suffix != ".py":
        return text
    cells = re.findall(r"^# %% \[markdown\]\n(.*?)(?=^[^#]|^# %%|\Z)", text, re.MULTILINE | re.DOTALL)
    return "\n".join(re.sub(r"^# ?", "", cell, flags=re.MULTILINE) for cell in cells)


def every_command(group, words):
    """Yield each command below a group, with the words that call it."""
    context = click.Context(group, **galtrans.context_settings)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield [*words, name], command
        if isinstance(command, click.Group):
            yield from every_command(command, [*words, name])


def commands(page: Path) -> list[str]:
    """The lines in blocks of sh that call galtrans, from there on."""
    blocks = re.findall(r"```sh\n(.*?)```", text_of(page), re.DOTALL)
    return [line.partition("galtrans ")[2] for block in blocks for line in LINES.findall(block)]


def find(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that the first words name, and the words after."""
    command = galtrans
    while words and isinstance(command, click.Group) and (next_one := command.get_command(None, words[0])):
        command, words = next_one, words[1:]
    return command, words


def headings(page: Path) -> set[str]:
    """The headings of a page, as links name them."""
    found = re.findall(r"^#+ (.*)$", text_of(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in found}
