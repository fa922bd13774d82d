"""A training run in words: what it is, and how far."""

import time
from pathlib import Path

from survey_tools.amounts import duration
from survey_tools.surveys import find_survey
from translator.checkpoint import find_recipe, read_progress
from translator.facts import read_facts


def summarise_run(path: Path) -> list[tuple[str, str]]:
    """Label and text of each thing worth saying of a run; RunError where `path` is none."""
    facts = read_facts(path)
    lines = [("recipe", facts.recipe)]
    for domain in facts.domains.values():
        grid = f"{domain.size} x {domain.size} pixels of {domain.pixel_scale:g} arcsec"
        lines.append((domain.survey, f"{find_survey(domain.survey).title} in {' '.join(domain.bands)}, {grid}"))
    if facts.imported:
        return [*lines, ("weights", f"imported from {', '.join(facts.imported)}"), _made_by(facts)]
    steps, total = len(find_recipe(facts.recipe).steps), sum(facts.iterations)
    saved = read_progress(path)
    if saved is None:
        done = f"no checkpoint yet, of {total:,} iterations in {steps} step{'' if steps == 1 else 's'}"
    else:
        done = f"{saved.iteration:,} of {total:,} iterations ({100 * saved.iteration / max(total, 1):.0f} %)"
        done += f", in step {saved.step + 1} of {steps}; saved {duration(time.time() - saved.time)} ago"
    if saved is None or saved.iteration < total:
        remedy = "it is being trained, or was interrupted: the same `galtrans train` with --resume goes on with it"
        lines.insert(0, ("NOT FINISHED", remedy))
    lines.append(("trained", done))
    lines.append(("batch size", f"{facts.batch_size}, seed {facts.seed}, {facts.precision}"))
    return [*lines, _made_by(facts)]


def _made_by(facts) -> tuple[str, str]:
    return "made by", f"galtrans {facts.galtrans_version}"
