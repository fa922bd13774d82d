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
    """Ask the live archives what their documentation leaves open, a few megabytes in all and in less than a minute.

    One line a question: the answer, and the setting that it concerns with OK, with NOT OK and a reason, or with FAILED
    where there is no answer. The last line is the verdict. Exit 1 unless all are OK. Where no archive can be reached,
    one line says why.

    \b
    Example:
      galtrans archives check --only cadc
    """
    import time

    from survey_tools.archives.reach import unreachable
    from survey_tools.archives.settings import read_settings, variable

    settings, archives, start = read_settings(), only or ARCHIVES, time.monotonic()
    if why := unreachable(settings.addresses(archives)):
        click.echo(
            f"Verdict: no archive can be reached from this machine: {why}; is it on the internet? Where it has to go "
            "through a proxy, HTTPS_PROXY names that."
        )
        raise click.exceptions.Exit(1)
    from survey_tools.archives.check import run_checks, verdict  # which takes a second to load

    findings = []
    for asked, finding in run_checks(settings, archives):
        findings.append((asked, finding))
        words = " ".join(f"{asked.question} {finding.answer}".split())
        click.echo(f"{asked.archive}: {words} [{variable(asked.setting)} {finding.verdict}]")
    click.echo(verdict(findings, time.monotonic() - start))
    if not all(finding.good for _, finding in findings):
        raise click.exceptions.Exit(1)
