"""A recipe in words and numbers: what `galtrans recipes` lists."""

from dataclasses import dataclass

import torch

from translator.facts import survey_domains
from translator.recipes import Recipe, Step, Turn


@dataclass(frozen=True)
class Summary:
    """What a row of the table of recipes says.

    Attributes:
        parameters: Of the network of each role that learns: in domain x, in domain y.
        steps: Iterations of each step, and its turns in order: roles that move, and the losses that they move under.
        sizes: Rows, and columns, of the images of x and y that the numbers are for.
    """

    parameters: dict[str, tuple[int, int]]
    steps: tuple[tuple[int, tuple[tuple[str, str], ...]], ...]
    sizes: tuple[int, int]

    @property
    def total(self) -> int:
        """Parameters of all networks."""
        return sum(sum(counts) for counts in self.parameters.values())


def summarise(recipe: Recipe) -> Summary:
    """The summary of a recipe for SDSS (x) and CFHTLS (y) in ugriz, in the sizes that it trains on."""
    grids = {name: domain.grid for name, domain in survey_domains(recipe.same_grid).items()}
    with torch.device("meta"):  # counts need no numbers
        networks = recipe.build(grids)
    counts = {name: sum(p.numel() for p in network.parameters()) for name, network in networks.items()}
    parameters = {role: (counts[f"{role}_x"], counts[f"{role}_y"]) for role in recipe.networks}
    steps = tuple((step.iterations, _turns(step)) for step in recipe.steps)
    return Summary(parameters, steps, (grids["x"].size, grids["y"].size))


def _turns(step: Step) -> tuple[tuple[str, str], ...]:
    return tuple((_roles(turn), _losses(turn)) for turn in step.turns)


def _roles(turn: Turn) -> str:
    """The roles that move, such as "generator, encoder"; with its domain where a role moves in one alone."""
    roles = dict.fromkeys(name.rpartition("_")[0] for name in turn.moves)
    return ", ".join(
        role if {f"{role}_x", f"{role}_y"} <= set(turn.moves) else next(n for n in turn.moves if n.startswith(role))
        for role in roles
    )


def _losses(turn: Turn) -> str:
    """The weighted sum, such as "1000 cycle + adversarial"; with its domain where a loss is asked of one alone."""
    weights: dict[tuple[str, float], list[str]] = {}
    for term in turn.terms:
        weights.setdefault((term.function.__name__, term.weight), []).append(term.domain)
    return " + ".join(
        ("" if weight == 1 else f"{weight:g} ") + name + ("" if len(domains) == 2 else f"_{domains[0]}")
        for (name, weight), domains in weights.items()
    )
