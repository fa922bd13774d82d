"""`galtrans models`: the trained models that come with galtrans."""

import click

from cli.options import verbose_option


@click.command()
@verbose_option
def models() -> None:
    """List the trained models that come with galtrans.

    A model's name stands wherever a command asks for a RUN. What each has seen, what it is good for and how good it is
    stands in docs/models.md.

    \b
    Examples:
      galtrans models
      galtrans translate sdss-cfhtls my_galaxy.fits --to cfht --out translated
    """
    from translator.models import models as built_in

    for model in built_in():
        card = model.card
        click.echo(f"{model.name}: {card['title']}")
        click.echo(f"  bands {card['bands']}, or some of them; {card['megabytes']:g} MB; licence {card['licence']}")
        click.echo(f"  trained: {card['trained']}")
        for direction, figures in card["figures"].items():
            said = ", ".join(f"{name} {value:.3g}" for name, value in figures.items())
            click.echo(f"  {direction}: {said}")
        click.echo(f"  weights {card['weights_sha256'][:16]}… ({card['iterations']} iterations)\n")
