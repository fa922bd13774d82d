"""Recipes: the trained models as data. A variant is a row here and nothing anywhere else."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import nn

from translator import losses
from translator.images import OTHER
from translator.networks.autoencoder import Autoencoder
from translator.networks.discriminator import Discriminator
from translator.networks.generator import generator
from translator.networks.layers import Grid
from translator.networks.noise_emulator import NoiseEmulator
from translator.networks.start import start_quickly

Grids = dict[str, Grid]  # of the domains "x" and "y"
Builders = dict[str, Callable[[Grids], nn.Module]]  # by role and domain, such as "generator_y"


@dataclass(frozen=True)
class Term:
    """One weighted loss on the images that land in `domain` ("x" or "y")."""

    loss: Callable
    domain: str
    weight: float = 1.0

    @property
    def name(self) -> str:
        """What its curve is called."""
        return f"{self.loss.__name__}_{self.domain}"


@dataclass(frozen=True)
class Turn:
    """One optimiser update: the networks of `moves` move, under these terms; all others are frozen."""

    moves: tuple[str, ...]
    terms: tuple[Term, ...]
    learning_rate: float = 1e-4


@dataclass(frozen=True)
class Step:
    """A stretch of training: at each iteration its turns are played in order.

    Every `decay_every` iterations the learning rates are divided by five.
    """

    turns: tuple[Turn, ...]
    iterations: int = 60_000
    decay_every: int = 20_000


@dataclass(frozen=True)
class Recipe:
    """A model: its networks, and the steps that train them.

    Attributes:
        networks: A builder for each network, by role and domain; each is given the grids of both domains.
        steps: In order.
        batch_size: Unpaired images of each domain, and pairs, in an iteration.
    """

    networks: Builders
    steps: tuple[Step, ...]
    batch_size: int = 24


def both(loss: Callable, weight: float = 1.0) -> tuple[Term, ...]:
    """The loss in either domain."""
    return Term(loss, "x", weight), Term(loss, "y", weight)


def per_domain(role: str, network: Callable) -> Builders:
    """A builder for either domain: `network(here, there)` is given its own grid and the other domain's."""

    def builder(here: str) -> Callable[[Grids], nn.Module]:
        return lambda grids: network(grids[here], grids[OTHER[here]])

    return {f"{role}_{domain}": builder(domain) for domain in "xy"}


def quickly(network: Callable) -> Callable:
    """The network, started for a short training as the image that it is given, at the flux a pixel of its own grid."""
    return lambda here, there: start_quickly(network(here, there), (there.size / here.size) ** 2)


def quickly_cleaned(network: Callable) -> Callable:
    """The network, started for a short training as the image of its own grid."""
    return lambda here, there: start_quickly(network(here, there))


def noise_then_translation(
    networks: Builders,
    *,
    iterations: tuple[int, int] = (60_000, 60_000),
    decay_every: tuple[int, int] = (20_000, 20_000),
    learning_rate: float = 1e-4,
    batch_size: int = 24,
) -> Recipe:
    """The paper's model: noise first, then translation with the noise held fixed and no discriminator."""
    noise = (
        Turn(("autoencoder_x", "autoencoder_y"), both(losses.reconstruction), learning_rate),
        Turn(("discriminator_x", "discriminator_y"), both(losses.noise_discrimination), learning_rate),
        Turn(("emulator_x", "emulator_y"), both(losses.noise_adversarial), learning_rate),
    )
    translation = (Turn(("generator_x", "generator_y"), both(losses.cycle) + both(losses.identity), learning_rate),)
    steps = (Step(turns, n, k) for turns, n, k in zip((noise, translation), iterations, decay_every, strict=True))
    return Recipe(networks, tuple(steps), batch_size)


RECIPES = {
    "two_step": noise_then_translation(
        per_domain("autoencoder", Autoencoder)
        | per_domain("emulator", NoiseEmulator)
        | per_domain("discriminator", Discriminator)
        | per_domain("generator", generator)
    ),
    # For two CPU cores and three minutes: narrow networks, generators that halve an image twice instead of three times,
    # and weights and noise levels to start from that thousands of iterations would otherwise have to find.
    "demo": noise_then_translation(
        per_domain("autoencoder", quickly_cleaned(partial(Autoencoder, width=8)))
        | per_domain("emulator", partial(NoiseEmulator, width=16, from_sky=True))
        | per_domain("discriminator", partial(Discriminator, width=4))
        | per_domain("generator", quickly(partial(generator, width=8, halvings=2))),
        iterations=(100, 600),
        decay_every=(40, 240),
        learning_rate=1e-3,
        batch_size=2,
    ),
}
