"""Recipes and runs in words and numbers."""

import time
from dataclasses import dataclass
from pathlib import Path

import torch

from survey_tools.progress import duration
from survey_tools.surveys import find_survey
from translator.recipes import Recipe, Step, Turn
from translator.runs.checkpoint import BEST, Saved, read_progress
from translator.runs.facts import RunFacts, read_facts, survey_domains


@dataclass(frozen=True)
class Summary:
    """The content of a recipe, for a table.

    Attributes
    ----------
    parameters : dict
        Number of parameters of the network of each role that learns: in domain x, in domain y.
    steps : tuple
        Iterations of each step, and its turns in order: roles that move, and the losses under which they move.
    sizes : tuple of int
        Rows, and columns, of the images of x and y that the numbers are for.
    """

    recipe: Recipe
    parameters: dict[str, tuple[int, int]]
    steps: tuple[tuple[int, tuple[tuple[str, str], ...]], ...]
    sizes: tuple[int, int]

    @property
    def total(self) -> int:
        """Parameters of all networks."""
        return sum(sum(counts) for counts in self.parameters.values())


def summarise(recipe: Recipe) -> Summary:
    """Return the summary of a recipe for SDSS (x) and CFHTLS (y) in ugriz, in the sizes that it trains on."""
    grids = {name: domain.grid for name, domain in survey_domains(recipe.same_grid).items()}
    with torch.device("meta"):  # counts need no numbers
        networks = recipe.build(grids)
    counts = {name: sum(p.numel() for p in network.parameters()) for name, network in networks.items()}
    parameters = {role: (counts[f"{role}_x"], counts[f"{role}_y"]) for role in recipe.networks}
    steps = tuple((step.iterations, _turns(step)) for step in recipe.steps)
    return Summary(recipe, parameters, steps, (grids["x"].size, grids["y"].size))


def _turns(step: Step) -> tuple[tuple[str, str], ...]:
    """Return the turns of a step, each as roles and losses."""
    return tuple((_roles(turn), _losses(turn)) for turn in step.turns)


def _roles(turn: Turn) -> str:
    """Return the roles that move, such as "generator, encoder"; a role that moves in one domain is named with it."""
    roles = dict.fromkeys(name.rpartition("_")[0] for name in turn.moves)
    return ", ".join(
        role if {f"{role}_x", f"{role}_y"} <= set(turn.moves) else next(n for n in turn.moves if n.startswith(role))
        for role in roles
    )


def _losses(turn: Turn) -> str:
    """Return the weighted sum, such as "1000 cycle + adversarial"; a loss of one domain is named with it."""
    weights: dict[tuple[str, float], list[str]] = {}
    for term in turn.terms:
        weights.setdefault((term.function.__name__, term.weight), []).append(term.domain)
    return " + ".join(
        ("" if weight == 1 else f"{weight:g} ") + name + ("" if len(domains) == 2 else f"_{domains[0]}")
        for (name, weight), domains in weights.items()
    )


def summarise_run(path: Path) -> list[tuple[str, str]]:
    """Return label and text of each thing worth saying about a run; RunError if `path` is not a run."""
    facts = read_facts(path)
    lines = [("recipe", facts.recipe)]
    for domain in facts.domains.values():
        grid = f"{domain.size} x {domain.size} pixels of {domain.pixel_scale:g} arcsec"
        lines.append((domain.survey, f"{find_survey(domain.survey).title} in {' '.join(domain.bands)}, {grid}"))
    if facts.best_by:
        return [*lines, *_best(facts, read_progress(path), "trained"), _made_by(facts)]
    if facts.imported:
        return [*lines, ("weights", f"imported from {', '.join(facts.imported)}"), _made_by(facts)]
    steps, total = len(facts.iterations), sum(facts.iterations)
    saved = read_progress(path)
    if saved is None:
        done = f"no checkpoint yet, of {total:,} iterations in {steps} step{'' if steps == 1 else 's'}"
    else:
        done = f"{saved.iteration:,} of {total:,} iterations ({100 * saved.iteration / max(total, 1):.0f} %)"
        done += f", in step {saved.step + 1} of {steps}; saved {duration(time.time() - saved.time)} ago"
    if saved is None or saved.iteration < total:
        remedy = "it is being trained, or was interrupted: the same `galtrans train` with --resume finishes it"
        lines.insert(0, ("NOT FINISHED", remedy))
    lines.append(("trained", done))
    if facts.begun_from:
        lines.append(("begun from", f"{facts.begun_from['run']}, iteration {facts.begun_from['iteration']:,}"))
    lines += [
        ("ended early", f"step {each['step']} at iteration {each['at']:,} of the run: {each['why']}")
        for each in facts.ended_early
    ]
    lines += _best(facts, read_progress(path / BEST), "RUN@best")
    lines += [("lengthened", f"at iteration {each['at']:,}: {' '.join(each['schedule'])}") for each in facts.lengthened]
    lines.append(("batch size", f"{facts.batch_size}, seed {facts.seed}, {facts.precision}"))
    return [*lines, _made_by(facts)]


def _best(facts: RunFacts, saved: Saved | None, label: str) -> list[tuple[str, str]]:
    """Return the line on the best state of a run; none if it keeps none."""
    if saved is None or not saved.best:
        return []
    far = f"{saved.best['measure']} is {saved.best['distance']:.3g} from perfect"
    return [(label, f"iteration {saved.iteration:,} of {sum(facts.iterations):,}, where {far}")]


def _made_by(facts) -> tuple[str, str]:
    """Return the line that names the version."""
    return "made by", f"galtrans {facts.galtrans_version}"
