"""`galtrans translate`: FITS in, FITS out."""

from pathlib import Path

import click

from cli.options import EXISTING_FILE, device_option, overwrite_option, seed_option, verbose_option
from survey_tools.errors import GaltransError
from survey_tools.surveys import SURVEYS


@click.command()
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("files", type=EXISTING_FILE, nargs=-1, required=True)
@click.option("--to", "target", type=click.Choice(list(SURVEYS)), required=True, help="Survey to translate into.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of the results.")
@click.option(
    "--noise", type=click.Choice(["sampled", "none"]), default="sampled", show_default=True, help="Noise to add."
)
@device_option
@seed_option
@overwrite_option
@verbose_option
def translate(run, files, target, out, noise, device, seed, overwrite) -> None:
    """Translate FITS images with the trained model in folder RUN.

    Each of FILES has one image HDU a band, named by EXTNAME or FILTER, or a (band, row, col) cube, in nanomaggies
    and with a WCS. Each result has the same centre on the sky, the pixel scale and noise of the survey given by
    --to, and SYNTH = T in its header, so that nobody takes it for an observation.

    \b
    Example:
      galtrans translate runs/two_step sdss_fits/*.fits --to cfht --out translated
    """
    from tqdm import tqdm

    from translator.checkpoint import load_run
    from translator.translate import translate_file

    outputs = {path: out / f"{path.name.split('.fit')[0]}_{target}.fits" for path in files}
    if len(set(outputs.values())) < len(outputs):
        raise click.UsageError(
            "two of the files have the same name, so their results would; translate them into two folders"
        )
    existing = [output for output in outputs.values() if output.exists()]
    if existing and not overwrite:
        raise click.UsageError(f"{existing[0]} exists already; choose another --out or pass --overwrite")
    trained = load_run(run, device)
    domain = trained.domain_of(target)
    failed = []
    for path, output in tqdm(outputs.items(), desc="translate", unit="file", disable=None):
        try:
            translate_file(trained, path, domain, output, noise=noise == "sampled", seed=seed)
        except GaltransError as error:  # the other files are still worth translating
            failed.append(error)
    if len(failed) < len(files):
        click.echo(f"{len(files) - len(failed)} of {len(files)} files translated to {SURVEYS[target].title} in {out}")
    for error in failed[:-1]:
        click.echo(f"Error: {error}", err=True)
    if failed:
        raise failed[-1]
