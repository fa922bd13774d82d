"""Make the parts of the site that follow from the code: the command line, and the tables of settings and measures.

MkDocs calls `on_files` and `on_page_markdown`. The other functions do not import MkDocs, so that tests can call them
without it.
"""

import html
from collections.abc import Iterator
from dataclasses import fields

import click

from cli.main import galtrans
from survey_tools.archives.settings import ArchiveSettings, variable
from translator.metrics.table import GROUPS

COMMAND_LINE = "reference/command_line.md"
HEAD = """# Command line

This page is made from the commands themselves when the site is built. Each command says the same with `--help`.
"""


def on_files(files, config):
    """Add the generated pages to those of the site."""
    from mkdocs.structure.files import File

    if COMMAND_LINE in files.src_uris:
        files.remove(files.src_uris[COMMAND_LINE])
    files.append(File.generated(config, COMMAND_LINE, content=command_line()))
    return files


def on_page_markdown(markdown, page, config, files):
    """Put the tables into the pages that ask for them."""
    for mark, table in TABLES.items():
        if mark in markdown:
            markdown = markdown.replace(mark, table())
    return markdown


def on_page_content(html, page, config, files):
    """Write "path-like" as docstrings have it: it is parsed as a subtraction."""
    return html.replace("path - like", "path-like").replace("array - like", "array-like")


def settings() -> str:
    """Return the table of all settings of the archives as Markdown."""
    rows = [
        f"| `{variable(each.name)}` | `{each.default}` | {each.metadata['what']} |" for each in fields(ArchiveSettings)
    ]
    return "\n".join(["| variable | default | meaning |", "|---|---|---|", *rows])


def measures() -> str:
    """Return one section for each group of measures as Markdown."""
    return "\n".join(line for heading, file in GROUPS.items() for line in _measures_of(heading, file))


def _measures_of(heading: str, file) -> Iterator[str]:
    """Yield the lines of the section of a group of measures."""
    yield f"## {heading}\n"
    for each in file.MEASURES:
        unit = f" {_cell(each.unit)}" if each.unit else ""
        needs = f"; needs {', '.join(f'`{name}`' for name in each.needs)}" if each.needs else ""
        yield f"### `{each.name}`\n\n**{_cell(each.title)}.** {_cell(each.meaning)}\n"
        yield f"- Formula: {_cell(each.formula)}\n- Source: {_cell(each.source)}"
        yield f"- Perfect: {each.perfect:g}{unit}{needs}\n"
    yield ""


def _cell(text: str) -> str:
    """Return text as a cell of a table shows it."""
    return _escaped(html.escape(text, quote=False))


def command_line() -> str:
    """Return the page of all commands as Markdown."""
    return "\n".join([HEAD, *_table(galtrans, ["galtrans"]), *_sections(galtrans, ["galtrans"])])


def _table(group: click.Group, words: list[str]) -> Iterator[str]:
    """Yield the lines of a table of all commands of a group, each with a link."""
    yield from ("| command | purpose |", "|---|---|")
    for name, command in _commands(group):
        path = " ".join([*words, name])
        yield f"| [`{path}`](#{path.replace(' ', '-')}) | {_escaped(command.get_short_help_str(200))} |"
    yield ""


def _sections(group: click.Group, words: list[str]) -> Iterator[str]:
    """Yield the lines of one section for each command, and for the commands of a command."""
    for name, command in _commands(group):
        path = [*words, name]
        # a command keeps the names of its help option from the first context that it sees
        context = click.Context(command, info_name=" ".join(path), **galtrans.context_settings)
        yield f"{'#' * len(path)} {' '.join(path)}\n"
        yield f"```text\n{' '.join([*path, *command.collect_usage_pieces(context)])}\n```\n"
        yield from _paragraphs(command.help or "")
        if isinstance(command, click.Group):
            yield from _table(command, path)
            yield from _sections(command, path)
        else:
            yield from _options(command, context)


def _paragraphs(text: str) -> Iterator[str]:
    """Yield the help of a command: paragraphs, and those behind click's mark as they are, in a block."""
    for part in text.replace("\r", "").split("\n\n"):
        if part.lstrip().startswith("\b"):
            yield "```text\n" + part.lstrip().removeprefix("\b").strip("\n") + "\n```\n"
        else:
            yield _escaped(" ".join(part.split()), pipes=False) + "\n"


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    """Yield the lines of a table of the options of a command."""
    records = [record for each in command.get_params(context) if (record := each.get_help_record(context))]
    if records:
        yield from ("| option | meaning |", "|---|---|")
        for option, meaning in records:
            yield f"| `{option.replace('|', chr(92) + '|')}` | {_escaped(meaning)} |"
        yield ""


def _commands(group: click.Group) -> list[tuple[str, click.Command]]:
    """Return the commands of a group, by name, in the order of its help."""
    context = click.Context(group)
    return [(name, group.get_command(context, name)) for name in group.list_commands(context)]


def _escaped(text: str, pipes: bool = True) -> str:
    """Return text that Markdown shows as it is, but for code between backticks; `pipes` are for cells of a table."""
    parts = text.split("`")
    marks = "\\*_<>[]" + ("|" if pipes else "")
    for at in range(0, len(parts), 2 if len(parts) % 2 else 1):
        for mark in marks:
            parts[at] = parts[at].replace(mark, "\\" + mark)
    return "`".join(parts)


TABLES = {"<!-- table of settings -->": settings, "<!-- table of measures -->": measures}
