"""`galtrans import-weights` and `galtrans export-weights`: read the authors' weights, and write those of any run."""

import click

from cli.options import NEW_PATH, overwrite_option, run_argument, verbose_option


# Unknown options count as SOURCE, for the authors' prefixes look like options: -60000.
@click.command("import-weights", context_settings={"ignore_unknown_options": True})
@click.argument("source", type=NEW_PATH)
@click.option("--recipe", required=True, help="Recipe of the weights, such as two_step.")
@click.option("--run", "path", type=NEW_PATH, required=True, help="Folder for the new run.")
@verbose_option
def import_weights(source, recipe, path) -> None:
    """Make a run from the authors' weights, which then translates like any other.

    SOURCE is a TensorFlow checkpoint (its prefix, such as ./-60000 for the files -60000.index and
    -60000.data-00000-of-00001, or the folder that holds it), or an .npz of {variable name: array}. The run translates
    between SDSS and CFHTLS in ugriz at the authors' image sizes. TensorFlow is not needed.

    \b
    Example:
      galtrans import-weights model/-60000 --recipe two_step --run runs/authors
    """
    import translator

    report = translator.import_weights(source, path, recipe=recipe)
    _say(report.parameters, f"read from {source}")
    if report.ignored:
        click.echo(f"left aside: {report.ignored} variables of the training's state, such as Adam's moments")
    if report.absent:
        click.echo(f"not in {source}, and not needed to translate: {', '.join(report.absent)}")
    click.echo(f"The model, after {report.iteration} iterations, lies in {path}. Next:")
    click.echo(f"  galtrans translate {path} FILES… --to cfht --out translated")


@click.command("export-weights")
@run_argument
@click.option("--out", type=NEW_PATH, required=True, metavar="FILE.npz", help="File to write.")
@overwrite_option
@verbose_option
def export_weights(run, out, overwrite) -> None:
    """Write the newest weights of RUN as an .npz file.

    The file holds {variable name: array} in float32, with the names and layouts of the authors' TensorFlow code. NumPy
    alone can read it. If the run has the authors' bands and image sizes, `galtrans import-weights` reads it back
    without changing a bit.

    \b
    Example:
      galtrans export-weights runs/two_step --out two_step.npz
    """
    import translator

    report = translator.export_weights(run, out, overwrite=overwrite)
    _say(report.parameters, f"after {report.iteration} iterations, written to {out}")


def _say(parameters: dict[str, int], what: str) -> None:
    """Print a line for each network, and their sum."""
    for name, count in parameters.items():
        click.echo(f"  {name:22} {count:12,} parameters")
    click.echo(f"{sum(parameters.values()):,} parameters of {len(parameters)} networks {what}")
