"""Recipes: the trained models as data.

A variant is a row here, or a `Recipe` of one's own, and nothing anywhere else.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import nn

from translator import losses
from translator.images import OTHER
from translator.intensity import linear, stretch
from translator.networks.autoencoder import Autoencoder
from translator.networks.discriminator import Discriminator, PatchDiscriminator
from translator.networks.generator import generator
from translator.networks.latent import LatentDiscriminator, LatentEncoder
from translator.networks.layers import SHUFFLE, WIDTH, Grid, start_quickly
from translator.networks.measured_survey import MeasuredSurvey
from translator.networks.noise_emulator import NoEncoder, NoiseEmulator, NoNoise
from translator.networks.observation_operator import NoOperator, ObservationOperator, is_richer
from translator.networks.resnet_generator import ResnetGenerator
from translator.networks.restoration import Draws, Nothing, Restoration
from translator.use import BY_GENERATOR, BY_OBSERVATION, Use

Grids = dict[str, Grid]  # of the domains "x" and "y"
Network = Callable[[Grid, Grid, int], nn.Module]  # from its own grid, the other domain's, and the width
CONTENT = 1000.0  # weight of the losses on pixels beside an adversarial one
SCALE_RATIO = 0.396 / 0.187  # pixel scales of SDSS and CFHTLS [arcsec/pixel], the latter as the paper rounds it


@dataclass(frozen=True)
class Term:
    """One weighted loss on the images that land in `domain` ("x" or "y")."""

    loss: Callable
    domain: str
    weight: float = 1.0

    @property
    def function(self) -> Callable:
        """The loss without the arguments that the row gives it."""
        return self.loss.func if isinstance(self.loss, partial) else self.loss

    @property
    def name(self) -> str:
        """Name of its curve."""
        return f"{self.function.__name__}_{self.domain}"


@dataclass(frozen=True)
class Turn:
    """One optimiser update: the networks of `moves` move, under these terms; all others are frozen.

    A gradient whose norm over all these networks exceeds `largest_norm` is scaled down to it.
    """

    moves: tuple[str, ...]
    terms: tuple[Term, ...]
    learning_rate: float = 1e-4
    largest_norm: float = 5.0


@dataclass(frozen=True)
class Step:
    """A stretch of training: at each iteration its turns are played in order.

    Every `decay_every` iterations the learning rates are divided by five. With None they fall smoothly in its place, by
    half a cosine from their value at the first iteration to 0 after the last.
    """

    turns: tuple[Turn, ...]
    iterations: int = 60_000
    decay_every: int | None = 20_000


@dataclass(frozen=True)
class Recipe:
    """A model: its networks, and the steps that train them.

    Attributes:
        title: What it is, in a line.
        networks: What builds the network of each role, in either domain; a role that the recipe does without is left
            out.
        steps: In order.
        batch_size: Unpaired images of each domain, and pairs, in an iteration.
        width: Channels of the networks' first layers; every other layer is a multiple of it.
        same_grid: Whether the images of both domains must have the same size, as the regridded CFHTLS set has.
        reads: What networks read of a flux [nanomaggy/pixel].
        use: How the trained networks translate.
        precision: Of convolutions in training, a row of `device.PRECISIONS`, where the user names none.
    """

    title: str
    networks: dict[str, Network]
    steps: tuple[Step, ...]
    batch_size: int = 24
    width: int = WIDTH
    same_grid: bool = False
    reads: Callable = stretch
    use: Use = BY_GENERATOR
    precision: str = "float32"

    def build(self, grids: Grids) -> nn.ModuleDict:
        """Return its networks before training, by role and domain ("generator_y"); ValueError if grids do not suit."""
        absent = {role: network for role, network in ABSENT.items() if role not in self.networks}
        return nn.ModuleDict(
            {
                f"{role}_{here}": network(grids[here], grids[there], self.width)
                for role, network in (self.networks | absent).items()
                for here, there in OTHER.items()
            }
        )

    @property
    def reads_pairs(self) -> bool:
        """Whether it needs objects that both surveys saw."""
        terms = (term for step in self.steps for turn in step.turns for term in turn.terms)
        return any(getattr(term.function, "reads_pairs", False) for term in terms)


ABSENT = {"emulator": NoNoise, "encoder": NoEncoder}


def both(loss: Callable, weight: float = 1.0) -> tuple[Term, ...]:
    """Return the loss in both domains."""
    return Term(loss, "x", weight), Term(loss, "y", weight)


def moves(*roles: str) -> tuple[str, ...]:
    """Return the names of the networks of these roles, in both domains."""
    return tuple(f"{role}_{domain}" for role in roles for domain in OTHER)


def at_width(width: int, network: Callable) -> Network:
    """Return the network with its own width."""
    return lambda here, there, _: network(here, there, width)


def quickly(network: Network) -> Network:
    """Return the network, started as the image that it reads with the flux a pixel of its own grid, for short
    trainings.
    """
    return lambda here, there, width: start_quickly(network(here, there, width), (there.size / here.size) ** 2)


def quickly_cleaned(network: Network) -> Network:
    """Return the network, started as the image of its own grid, for short trainings."""
    return lambda here, there, width: start_quickly(network(here, there, width))


def noise_then_translation(
    iterations: tuple[int, int] = (60_000, 60_000),
    decay_every: tuple[int, int] = (20_000, 20_000),
    learning_rate: float = 1e-4,
) -> tuple[Step, ...]:
    """Return the paper's two steps: noise first, then translation with the noise held fixed and no discriminator."""
    noise = (
        Turn(moves("autoencoder"), both(losses.reconstruction), learning_rate),
        Turn(moves("discriminator"), both(losses.noise_discrimination), learning_rate),
        Turn(moves("emulator"), both(losses.noise_adversarial), learning_rate),
    )
    translation = (Turn(moves("generator"), both(losses.cycle) + both(losses.identity), learning_rate),)
    return tuple(Step(turns, n, k) for turns, n, k in zip((noise, translation), iterations, decay_every, strict=True))


def against_discriminators(*terms: Term) -> tuple[Step, ...]:
    """Return one step: the discriminators, then the generators under these terms and the adversarial one."""
    return (
        Step(
            (
                Turn(moves("discriminator"), both(losses.discrimination)),
                Turn(moves("generator"), terms + both(losses.adversarial)),
            )
        ),
    )


def of_richer(network: Network) -> Network:
    """Return the network for the domain of the richer survey, and nothing for the other."""
    return lambda here, there, width: (network if is_richer(here, there) else Nothing)(here, there, width)


def of_poorer(network: Network) -> Network:
    """Return the network for the domain of the poorer survey, and no operator for the other."""
    return lambda here, there, width: (NoOperator if is_richer(here, there) else network)(here, there, width)


def operator_then_restoration(
    iterations: tuple[int, int, int], rates: tuple[float, float, float], norms: tuple[float, float, float]
) -> tuple[Step, ...]:
    """Return three steps: the operator, the mean of what may lie behind an observation, and draws around it."""
    stages = (
        ("operator", losses.observation),
        ("restoration", losses.posterior_mean),
        ("draws", losses.posterior_draws),
    )
    return tuple(
        Step((Turn(moves(role), both(loss), rate, norm),), count, decay_every=None)
        for (role, loss), count, rate, norm in zip(stages, iterations, rates, norms, strict=True)
    )


CYCLE, IDENTITY = both(losses.cycle, CONTENT), both(losses.identity, CONTENT)
PSEUDO_IDENTITY = both(partial(losses.pseudo_identity, ratio=SCALE_RATIO), CONTENT)
BAND_BY_BAND = {"generator": generator, "discriminator": Discriminator}
AUGMENTED = {
    "generator": partial(ResnetGenerator, conditional=True),
    "encoder": LatentEncoder,
    "discriminator": PatchDiscriminator,
    "latent_discriminator": LatentDiscriminator,
}
AUGMENTED_STEPS = (
    Step(
        (
            Turn(
                moves("discriminator", "latent_discriminator"),
                both(losses.discrimination) + both(losses.latent_discrimination),
            ),
            Turn(
                moves("generator", "encoder"),
                CYCLE
                + IDENTITY
                + both(losses.latent_cycle)
                + both(losses.adversarial)
                + both(losses.latent_adversarial),
            ),
        )
    ),
)

RECIPES = {
    "two_step": Recipe(
        "the paper's model: noise first, then translation with the noise held fixed",
        {"autoencoder": Autoencoder, "emulator": NoiseEmulator} | BAND_BY_BAND,
        noise_then_translation(),
    ),
    "pix2pix": Recipe("(a) pairs and discriminators, no cycle", BAND_BY_BAND, against_discriminators(*IDENTITY)),
    "cyclegan": Recipe("(b) unpaired: cycles and discriminators", BAND_BY_BAND, against_discriminators(*CYCLE)),
    "cyclegan_pid": Recipe(
        "(c) as (b), each image its own pair in the place of one",
        BAND_BY_BAND,
        against_discriminators(*CYCLE, *PSEUDO_IDENTITY),
    ),
    "cyclegan_id": Recipe(
        "(d) cycles, pairs and discriminators", BAND_BY_BAND, against_discriminators(*CYCLE, *IDENTITY)
    ),
    "cyclegan_id_ps": Recipe(
        "(e) as (d), maps enlarged by pixel shuffle",
        BAND_BY_BAND | {"generator": partial(generator, enlargement=SHUFFLE)},
        against_discriminators(*CYCLE, *IDENTITY),
    ),
    "no_autoencoder": Recipe(
        "(f) the paper's model in one step: noise learned on the translations themselves",
        BAND_BY_BAND | {"emulator": NoiseEmulator},
        (
            Step(
                (
                    Turn(moves("generator"), both(losses.cycle) + both(losses.identity)),
                    Turn(moves("discriminator"), both(losses.discrimination)),
                    Turn(moves("emulator"), both(losses.adversarial)),
                )
            ),
        ),
    ),
    "cyclegan_resnet6": Recipe(
        "(g) CycleGAN with six residual blocks and patch discriminators, on regridded images",
        {"generator": ResnetGenerator, "discriminator": PatchDiscriminator},
        against_discriminators(*CYCLE),
        same_grid=True,
    ),
    "augmented_cyclegan": Recipe(
        "(h) (g) steered by latent codes, with pairs; as published, whose encoder gives a constant",
        AUGMENTED,
        AUGMENTED_STEPS,
        same_grid=True,
    ),
    "augmented_cyclegan_repaired": Recipe(
        "(h) with an encoder that reads its images",
        AUGMENTED | {"encoder": partial(LatentEncoder, last_norm=False)},
        AUGMENTED_STEPS,
        same_grid=True,
    ),
    "psf_matched": Recipe(
        "seeing, pixels, filters and noise are measured; a network learns what the poorer survey could not resolve",
        {
            "survey": MeasuredSurvey,
            "operator": of_poorer(ObservationOperator),
            "restoration": of_richer(Restoration),
            "draws": of_richer(Draws),
        },
        operator_then_restoration(
            iterations=(1200, 4500, 900),
            rates=(0.02, 1e-3, 1e-3),
            norms=(5.0, 1.0, 20.0),  # of gradients, beyond all but one in a thousand: what a spike is cut to
        ),
        batch_size=8,
        width=48,
        reads=linear,
        use=BY_OBSERVATION,
        precision="bf16",
    ),
    # For two CPU cores and three minutes: narrow networks, generators that halve an image twice instead of three times,
    # and weights and noise levels to start from that thousands of iterations would otherwise have to find.
    "demo": Recipe(
        "two_step, made narrow and started near its end, for a few minutes on two CPU cores",
        {
            "autoencoder": quickly_cleaned(Autoencoder),
            "emulator": at_width(16, partial(NoiseEmulator, from_sky=True)),
            "discriminator": at_width(4, Discriminator),
            "generator": quickly(partial(generator, halvings=2)),
        },
        noise_then_translation(iterations=(100, 600), decay_every=(40, 240), learning_rate=1e-3),
        batch_size=2,
        width=8,
    ),
}
