"""`galtrans recipes` and `galtrans models`: list what can be trained, and what is trained already."""

import click

from cli.options import verbose_option


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
