"""`galtrans recipes`: the models that can be trained."""

import click

from cli.options import check_recipe, verbose_option


def _check_recipes(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(check_recipe(ctx, param, name) for name in value)


@click.command()
@click.argument("names", nargs=-1, metavar="[NAMES]…", callback=_check_recipes)
@verbose_option
def recipes(names) -> None:
    """List the models that `galtrans train` knows, or those called NAMES.

    For each: its networks with their numbers of parameters (into SDSS + into CFHTLS, in ugriz at the sizes given), and
    the steps of its training, in each of which the turns are played in order: who moves, under which losses. What the
    losses are is in docs/recipes.md.

    \b
    Example:
      galtrans recipes two_step cyclegan
    """
    from translator.recipe_summary import summarise
    from translator.recipes import RECIPES

    for name in names or RECIPES:
        recipe = RECIPES[name]
        summary = summarise(recipe)
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
