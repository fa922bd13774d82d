"""`galtrans surveys`: list the surveys that commands can name."""

import json

import click

import survey_tools
from cli.options import survey_file_option, verbose_option

COLUMNS = {  # column of the table: its heading
    "name": "name",
    "title": "title",
    "release": "release",
    "bands": "bands",
    "pixel_scale": "pixel",
    "cutout_size": "cutout",
    "archive": "archive",
}


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]…")
@click.option("--json", "as_json", is_flag=True, help="Print everything that is known of each survey as JSON.")
@survey_file_option
@verbose_option
def surveys(names: tuple[str, ...], as_json: bool) -> None:
    """List the surveys that commands can name, or those called NAME: release, bands, pixels, archive and source.

    "live" means that `galtrans fetch NAME` asks the archive of the survey itself. "mirror" means that it needs --mirror
    with a folder of the survey's tiles; how to get these is said below the table. If two NAMEs are given, the bands are
    listed that both surveys call by one name although their filters have different curves.

    \b
    Examples:
      galtrans surveys
      galtrans surveys hsc des
      galtrans surveys --json
    """
    rows = survey_tools.describe_surveys(names)
    if as_json:
        click.echo(json.dumps([row.facts for row in rows], indent=2))
        return
    shown = [[_cell(row.facts, name) for name in COLUMNS] for row in rows]
    widths = [max(map(len, column)) for column in zip(list(COLUMNS.values()), *shown, strict=True)]
    for cells in (list(COLUMNS.values()), *shown):
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
    click.echo()
    for row in rows:
        click.echo(f"{row.facts['name']}: {row.facts['source']}")
        click.echo(f"  a mirror has {row.facts['mirror']}")
        if row.facts["hint"]:
            click.echo(f"  {row.facts['hint']}".replace("`mirror`", "--mirror"))
    if len(rows) == 2:
        click.echo()
        for band, curves in rows[0].apart(rows[1]).items():
            click.echo(f"{band} has one name and two curves: {curves[0]} and {curves[1]}")


def _cell(facts: dict, name: str) -> str:
    """Return the text of a cell of the table."""
    value = facts[name]
    if name == "pixel_scale":
        return f'{value:g}"'
    if name == "cutout_size":
        return f'{value} ({value * facts["pixel_scale"]:.1f}")'
    return "".join(value) if name == "bands" else str(value)
