"""How the trained networks of a recipe translate: one function for each kind of recipe, all with the same arguments."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from translator.images import OTHER, is_random
from translator.intensity import stretch, unstretch
from translator.metrics.blank import NORMAL
from translator.networks.observation_operator import area, inverse, sample
from translator.networks.restoration import SMOOTH, Told, box, filled
from translator.observing import (
    SUPPORT,
    Observed,
    leads_down,
    observe,
    seen_variance,
    share_around,
    tell_of,
)

LEAST_SKY = 500  # pixels, of which the noise of a restored sky is measured
LEAST_SHARE = 0.5  # of the survey's variance, that is always added


@dataclass(frozen=True)
class Wanted:
    """What is asked of a translation.

    Attributes:
        domain: "x" or "y", where it lands.
        size: Rows, and columns, of its grid.
        pixel_scale: Of its grid [arcsec/pixel].
        alignment: From the grid of the input to that of the translation (B, 2, 3), as of
            `networks.observation_operator`.
        seeing: Full width at half maximum of stars that it shall have (B, band) [arcsec]; NaN for the survey's usual.
        sigma: Noise of a pixel of blank sky that it shall have (B, band) [nanomaggy/pixel]; where it is NaN, that of an
            object of the survey, drawn at random.
        gain: (B, band) [electron/nanomaggy]; NaN for the survey's usual.
        noise: Whether it has noise as the survey's images have.
        draw: Whether its signal is a draw from all that it may be, and not their mean.
    """

    domain: str
    size: int
    pixel_scale: float
    alignment: Tensor
    seeing: Tensor
    sigma: Tensor
    gain: Tensor
    noise: bool = True
    draw: bool = False


@dataclass(frozen=True)
class Made:
    """Translations (B, band, row, col) [nanomaggy/pixel], float32, and which of their pixels rest on enough input."""

    image: Tensor
    good: Tensor


@dataclass(frozen=True)
class Use:
    """How a kind of recipe translates.

    Attributes:
        translate: From networks, observations, what is wanted, and a generator of random numbers for each image.
        is_random: Whether translations by networks into a domain differ from draw to draw.
        has_draws: Whether their signals can be drawn, besides being the mean of all that they may be.
        reads_any: Whether images may have gaps and lack bands, and what is known of them matters.
    """

    translate: Callable[[nn.ModuleDict, Observed, Wanted, list[Generator]], Made]
    is_random: Callable[[nn.ModuleDict, str], bool]
    has_draws: Callable[[nn.ModuleDict, str], bool]
    reads_any: bool


def _by_generator(networks: nn.ModuleDict, observed: Observed, wanted: Wanted, randoms: list[Generator]) -> Made:
    """The paper's recipes: G(x), and noise of the emulator. They read images alone, stretched, of one size.

    Args:
        networks: Of the model.
        observed: Images without gaps.
        wanted: The grid is that of the networks; a latent code is drawn for noise or a draw, else it is the mean, 0.
        randoms: One for each image, on the CPU; noise is drawn there, the same whatever else is in the batch.
    """
    domain = wanted.domain
    emulator, encoder = networks[f"emulator_{domain}"], networks[f"encoder_{domain}"]
    emulator, encoder = (_on_cpu(networks[f"{role}_{domain}"]) for role in ("emulator", "encoder"))
    device = observed.image.device
    codes = [encoder.draw(1, random) for random in randoms]
    latent = None if codes[0] is None else torch.cat(codes)
    if latent is not None and not wanted.noise:
        latent = torch.zeros_like(latent)
    made = networks[f"generator_{domain}"](
        stretch(observed.image).float(), None if latent is None else latent.to(device)
    ).cpu()
    if wanted.noise and is_random(networks, domain):
        made = torch.cat([image + emulator(1, each) for image, each in zip(made.split(1), randoms, strict=True)])
    return Made(unstretch(made.double()), torch.ones(made.shape, dtype=torch.bool))


def _by_observation(networks: nn.ModuleDict, observed: Observed, wanted: Wanted, randoms: list[Generator]) -> Made:
    """`psf_matched`: the operator into the poorer survey, the mean or a draw into the richer one, and measured noise.

    Args:
        networks: Of the model.
        observed: Images of any size, with gaps or missing bands.
        wanted: Any grid.
        randoms: One for each image, on the CPU; all that is drawn is drawn there.
    """
    observed = Observed(observed.image.float(), observed.good, observed.known)
    into = _observation if leads_down(networks, wanted.domain) else _restoration
    signal, good, already = into(networks, observed, wanted, randoms)
    if wanted.noise:
        survey = networks[f"survey_{wanted.domain}"]
        drawn = torch.cat([survey.draw_sigma(1, random) for random in randoms])
        sigma = torch.where(torch.isfinite(wanted.sigma), wanted.sigma, drawn)
        missing = torch.sqrt(torch.maximum(sigma**2 - already, LEAST_SHARE * sigma**2))
        white = _each(randoms, signal.shape[1:], signal.device)
        signal = signal + survey.noise(signal, missing, survey.usual("gain", wanted.gain), white)
    return Made(signal.cpu().double(), (good & observed.bands[..., None, None]).cpu())


def _observation(networks, observed: Observed, wanted: Wanted, randoms) -> tuple[Tensor, Tensor, Tensor | float]:
    """Signal, good pixels and the variance of the noise that the signal has, of an observation by the poorer survey."""
    domain = wanted.domain
    operator, there = networks[f"operator_{domain}"], networks[f"survey_{OTHER[domain]}"]
    back = inverse(wanted.alignment)
    mixing = there.mixing(operator.colour, observed.bands)
    image, seeing = filled(observed.image, observed.good), wanted.seeing
    signal = observe(networks, domain, image, observed.known, seeing, back, wanted.size, mixing)
    width = networks[f"survey_{domain}"].usual("psf_fwhm", seeing)
    around = share_around(observed.good.to(image), width, wanted.pixel_scale / float(area(back)[0].sqrt()))
    good = sample(around, back, (wanted.size, wanted.size)) >= SUPPORT
    return signal, good, seen_variance(networks, domain, observed.known, seeing, back)


def _restoration(networks, observed: Observed, wanted: Wanted, randoms) -> tuple[Tensor, Tensor, Tensor | float]:
    """The same of a restoration, whose sky still shows a little of the input's noise."""
    domain, here = wanted.domain, OTHER[wanted.domain]
    told = tell_of(networks, domain, observed, wanted.seeing, wanted.alignment, wanted.size)
    signal = networks[f"restoration_{domain}"](told)
    if wanted.draw:
        network = networks[f"draws_{domain}"]
        seeds = [_each(randoms, shape, signal.device) for shape in network.seed_shapes(wanted.size)]
        signal = network(told.with_mean(signal), seeds)
    width = networks[f"survey_{here}"].usual("psf_fwhm", observed.known.psf_fwhm)
    good = share_around(told.there, width, wanted.pixel_scale) >= SUPPORT
    return signal, good, sky_variance(signal, told)


def sky_variance(signal: Tensor, told: Told) -> Tensor:
    """Variance (B, band) of a restored signal where its input shows no light: noise that the survey's must not repeat.

    By the median of how far pixels below the sky's median lie from it, since faint sources lie above it; 0 for an image
    with less than `LEAST_SKY` pixels of sky.
    """
    sky = (box(told.plain, SMOOTH) < told.sigma) & (told.there > SUPPORT)
    found = torch.zeros(signal.shape[:2], device=signal.device)
    for place in torch.nonzero(sky.sum((-2, -1)) >= LEAST_SKY).tolist():
        values = signal[*place][sky[*place]]
        middle = values.median()
        found[*place] = (NORMAL * (middle - values[values < middle]).median()) ** 2
    return found.nan_to_num()


def _each(randoms: list[Generator], shape, device: torch.device) -> Tensor:
    """Normal numbers (B, *shape), each image's by a generator of its own, on the networks' device."""
    return torch.stack([torch.randn(*shape, generator=random) for random in randoms]).to(device)


def _on_cpu(network: nn.Module) -> nn.Module:
    """A network where random numbers are drawn."""
    there = next(network.parameters(), torch.zeros(()))
    return network if there.device.type == "cpu" else copy.deepcopy(network).cpu()


BY_GENERATOR = Use(_by_generator, is_random, lambda networks, domain: False, reads_any=False)
BY_OBSERVATION = Use(
    _by_observation,
    lambda networks, domain: True,
    lambda networks, domain: not leads_down(networks, domain),
    reads_any=True,
)
