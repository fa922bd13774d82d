"""`galtrans recipes`, `models` and `card`: what can be trained, what is trained, and a run for others."""

from pathlib import Path

import click

from cli.options import NEW_PATH, overwrite_option, run_argument, verbose_option


@click.command()
@click.argument("names", nargs=-1, metavar="[NAMES]…")
@verbose_option
def recipes(names) -> None:
    """List the models that `galtrans train` knows, or those called NAMES.

    For each model, the list has its networks with their numbers of parameters (into SDSS + into CFHTLS, for ugriz
    images of the given sizes) and the steps of its training. In each step the turns follow one another; a turn says
    which networks move, and under which losses. The losses are explained in docs/reference/recipes.md.

    \b
    Example:
      galtrans recipes two_step cyclegan
    """
    import translator

    summaries = {name: translator.describe_recipe(name) for name in names or translator.RECIPES}
    for name, summary in summaries.items():
        recipe = summary.recipe
        click.echo(f"{name}: {recipe.title}")
        sizes, pairs = "{} and {}".format(*summary.sizes), "with pairs" if recipe.reads_pairs else "no pairs needed"
        click.echo(f"  {summary.total:,} parameters; batches of {recipe.batch_size}; {sizes} pixels; {pairs}")
        for role, (x, y) in summary.parameters.items():
            click.echo(f"    {role:21}{x:>10,} +{y:>10,}")
        for number, (iterations, turns) in enumerate(summary.steps, 1):
            click.echo(f"  step {number} of {len(summary.steps)}: {iterations:,} iterations")
            for roles, losses in turns:
                click.echo(f"    {roles}: {losses}")
        click.echo()


@click.command()
@verbose_option
def models() -> None:
    """List the trained models that come with galtrans.

    The name of a model can be given wherever a command asks for a RUN. What each model has seen, what it is good for
    and how good it is can be read in docs/explanation/shipped_model.md.

    \b
    Examples:
      galtrans models
      galtrans translate sdss-cfhtls my_galaxy.fits --to cfht --out translated
    """
    import translator

    for model in translator.list_models():
        card = model.card
        click.echo(f"{model.name}: {card['title']}")
        click.echo(f"  bands {card['bands']}, or some of them; {card['megabytes']:g} MB; licence {card['licence']}")
        click.echo(f"  trained: {card['trained']}")
        for direction, figures in card["figures"].items():
            said = ", ".join(f"{name} {value:.3g}" for name, value in figures.items())
            click.echo(f"  {direction}: {said}")
        click.echo(f"  weights {card['weights_sha256'][:16]}… ({card['iterations']} iterations)\n")


@click.command()
@run_argument
@click.option("--report", type=NEW_PATH, help="Report of `galtrans evaluate` on RUN: report.json, or its folder.")
@click.option("--out", type=NEW_PATH, metavar="FILE", help="File to write, such as README.md; without it, print.")
@overwrite_option
@verbose_option
def card(run: str, report: Path | None, out: Path | None, overwrite: bool) -> None:
    """Describe RUN for other people: a model card as the Hugging Face Hub shows it.

    RUN is the folder of a training, or the name of a model that comes with galtrans. The card says what the model was
    trained on, how it is loaded, how good it is by a report, which seeing and noise it has seen, and the checksum of
    its weights. Without a report it says that nothing was measured.

    \b
    Examples:
      galtrans card sdss-cfhtls
      galtrans card runs/two_step --report report --out runs/two_step/README.md
    """
    import translator

    text = translator.card(run, report=report, out=out, overwrite=overwrite)
    click.echo(text if out is None else f"Wrote {out}.", nl=out is not None)
