"""`galtrans archives`: where the live archives are, and what they answer today."""

import click

from cli.options import verbose_option

ARCHIVES = ("sdss", "cadc", "vizier")


@click.group()
def archives() -> None:
    """Look after the addresses and limits of the live archives.

    \b
    Example:
      galtrans archives settings
      galtrans archives check
    """


@archives.command()
@verbose_option
def settings() -> None:
    """List the settings: name, value, and the variable of the environment that sets it.

    \b
    Example:
      galtrans archives settings
      GALTRANS_SAS=https://dr12.sdss.org galtrans archives settings
    """
    from dataclasses import fields

    from survey_tools.archives.settings import Settings, read_settings, variable

    now, defaults = read_settings(), Settings()
    for each in fields(Settings):
        value, default = vars(now)[each.name], vars(defaults)[each.name]
        changed = "" if value == default else f" (changed from {default})"
        click.echo(f"{each.name} = {value}{changed}\n  {each.metadata['what']}; {variable(each.name)}")


@archives.command()
@click.option("--only", type=click.Choice(ARCHIVES), multiple=True, help="Ask this archive; may be repeated.")
@verbose_option
def check(only: tuple[str, ...]) -> None:
    """Ask the live archives what their documentation leaves open, a few megabytes in all.

    One line a question: the answer, and the setting that it concerns with OK, with CHANGE SETTING and a reason, or with
    FAILED where there is no answer. Exit 1 unless all are OK.

    \b
    Example:
      galtrans archives check --only cadc
    """
    from survey_tools.archives.check import run_checks
    from survey_tools.archives.settings import read_settings, variable

    good = True
    for asked, finding in run_checks(read_settings(), only or ARCHIVES):
        good &= finding.good
        words = " ".join(f"{asked.question} {finding.answer}".split())
        click.echo(f"{asked.archive}: {words} [{variable(asked.setting)} {finding.verdict}]")
    if not good:
        raise click.exceptions.Exit(1)
