"""How the trained networks of a recipe translate: one function for each kind of recipe, all with the same arguments."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor, nn

from translator.images import OTHER, Known, is_random
from translator.intensity import stretch, unstretch
from translator.metrics.robust import NORMAL
from translator.networks.observation_operator import area, inverse, sample
from translator.networks.restoration import SMOOTH, box, filled
from translator.observing import (
    SUPPORT,
    Observed,
    leads_down,
    observe,
    seen_variance,
    share_around,
    tell_of,
)

LEAST_SKY = 500  # pixels that are needed to measure the noise of a restored sky
LEAST_SHARE = 0.5  # part of the survey's variance that is always added


@dataclass(frozen=True)
class Wanted:
    """What is asked of translations.

    Attributes
    ----------
    domain : str
        "x" or "y", where they land.
    shape : tuple of int
        Rows and columns of their grid.
    pixel_scale : float
        Pixel scale of their grid [arcsec/pixel].
    alignment : Tensor
        From the grid of the input to that of the translation (B, 2, 3), in the form of `networks.observation_operator`.
    seeing : Tensor
        Full width at half maximum of stars that they shall have (B, band) [arcsec]; NaN for the survey's usual.
    sigma : Tensor
        Noise of a pixel of blank sky that they shall have (B, band) [nanomaggy/pixel]; NaN for that of a random object
        of the survey.
    gain : Tensor
        Gain that they shall have (B, band) [electron/nanomaggy]; NaN for the survey's usual.
    noise : bool
        Whether they have noise like the survey's images.
    draw : bool
        Whether their signal is a random draw of all possible signals, and not their mean.
    """

    domain: str
    shape: tuple[int, int]
    pixel_scale: float
    alignment: Tensor
    seeing: Tensor
    sigma: Tensor
    gain: Tensor
    noise: bool = True
    draw: bool = False


@dataclass(frozen=True)
class Made:
    """Translations (B, band, row, col) [nanomaggy/pixel], and whether each pixel rests on enough input (bool, same
    shape).
    """

    image: Tensor
    good: Tensor


@dataclass(frozen=True)
class Use:
    """How a kind of recipe translates.

    Attributes
    ----------
    translate : callable
        The function that translates, from networks, observations, the request, and a generator of random numbers for
        each image.
    is_random : callable
        Whether translations by networks into a domain differ from draw to draw.
    has_draws : callable
        Whether their signals can be drawn, besides being the mean of all possible ones.
    reads_any : bool
        Whether images may have gaps and lack bands, and their conditions matter.
    """

    translate: Callable[[nn.ModuleDict, Observed, Wanted, list[Generator]], Made]
    is_random: Callable[[nn.ModuleDict, str], bool]
    has_draws: Callable[[nn.ModuleDict, str], bool]
    reads_any: bool


def _by_generator(networks: nn.ModuleDict, observed: Observed, wanted: Wanted, randoms: list[Generator]) -> Made:
    """Translate by the paper's recipes: G(x), and noise of the emulator. They read images alone, stretched, of one
    size.

    Parameters
    ----------
    networks : ModuleDict
        Networks of the model.
    observed : Observed
        Images without gaps.
    wanted : Wanted
        The grid must be that of the networks. A latent code is drawn if there is noise, else it is the mean, 0.
    randoms : list of Generator
        One for each image, on the CPU; noise is drawn there, the same in any batch.
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
    """Translate by `psf_matched`: the operator into the poorer survey, the mean or a draw into the richer, measured
    noise.

    Parameters
    ----------
    networks : ModuleDict
        Networks of the model.
    observed : Observed
        Images of any size, also with gaps or without some bands.
    wanted : Wanted
        The request, for any grid.
    randoms : list of Generator
        One for each image, on the CPU; all random numbers are drawn there.
    """
    seeds = None
    if wanted.draw:
        shapes = seed_shapes(networks, wanted.domain, wanted.shape)
        seeds = [_each(randoms, shape, observed.image.device) for shape in shapes]
    found = signal_of(networks, observed, wanted, seeds)
    signal = found.image
    if wanted.noise:
        drawn = torch.cat([networks[f"survey_{wanted.domain}"].draw_sigma(1, random) for random in randoms])
        white = _each(randoms, signal.shape[1:], signal.device)
        already = known_variance(networks, observed.known, wanted, signal, found.sky)
        signal = signal + noise_of(networks, wanted, signal, drawn, already, white)
    return Made(signal.cpu().double(), (found.good & observed.bands[..., None, None]).cpu())


@dataclass(frozen=True)
class Signal:
    """A translation without noise.

    Attributes
    ----------
    image : Tensor
        (B, band, row, col) float32 [nanomaggy/pixel].
    good : Tensor
        Whether each pixel rests on enough of the input (bool, same shape).
    sky : Tensor or None
        Whether the input shows no light (bool, same shape); None if that does not matter, as into the poorer survey.
    """

    image: Tensor
    good: Tensor
    sky: Tensor | None


def seed_shapes(networks: nn.ModuleDict, domain: str, shape: tuple[int, int]) -> list[tuple[int, ...]]:
    """Return shapes of the normal numbers from which draws of images of `shape` (rows, cols) are made.

    The last of them, (band,), are those of the flux; maps (channel, row, col) and codes (channel,) of the network, if
    there is one, come before.
    """
    network, bands = networks[f"draws_{domain}"], len(networks[f"survey_{domain}"].psf_fwhm)
    return [*([] if leads_down(networks, domain) else network.seed_shapes(shape)), (bands,)]


def signal_of(
    networks: nn.ModuleDict,
    observed: Observed,
    wanted: Wanted,
    seeds: list[Tensor] | None = None,
    mean: Tensor | None = None,
) -> Signal:
    """Return the signal that `psf_matched` finds in observations, without noise.

    Parameters
    ----------
    networks : ModuleDict
        Networks of the model.
    observed : Observed
        Images of any size, also with gaps or without some bands.
    wanted : Wanted
        The request, for any grid.
    seeds : list of Tensor, optional
        Normal numbers (B, …) of `seed_shapes`, for draws; None for the mean.
    mean : Tensor, optional
        The result without seeds, if it is known already.
    """
    observed = Observed(observed.image.to(wanted.alignment.dtype), observed.good, observed.known)
    into = _observation if leads_down(networks, wanted.domain) else _restoration
    found = into(networks, observed, wanted, seeds, mean)
    if seeds is None:
        return found
    wrong = seeds[-1] @ networks[f"survey_{wanted.domain}"].flux_scatter.mT
    return replace(found, image=found.image * torch.exp(wrong)[..., None, None])


def known_variance(networks: nn.ModuleDict, known: Known, wanted: Wanted, signal: Tensor, sky: Tensor | None) -> Tensor:
    """Return the variance (B, band) of the input's noise that a signal still has.

    Parameters
    ----------
    networks : ModuleDict
        Networks of the model.
    known : Known
        Conditions of the input.
    wanted : Wanted
        The request for the signal.
    signal : Tensor
        The whole signal.
    sky : Tensor or None
        As of `Signal`.
    """
    if sky is None:
        return seen_variance(networks, wanted.domain, known, wanted.seeing, inverse(wanted.alignment))
    return sky_variance(signal, sky)


def noise_of(
    networks: nn.ModuleDict, wanted: Wanted, signal: Tensor, drawn: Tensor, already: Tensor, white: Tensor
) -> Tensor:
    """Return the noise (B, band, row, col) of the survey that a signal lacks.

    Parameters
    ----------
    networks : ModuleDict
        Networks of the model.
    wanted : Wanted
        The wanted noise and gain.
    signal : Tensor
        The signal without noise.
    drawn : Tensor
        Noise of blank sky (B, band) of random objects, for images of which no noise is asked.
    already : Tensor
        Variance (B, band) that the signal's sky still has, as of `known_variance`.
    white : Tensor
        Normal numbers of the signal's shape.
    """
    survey = networks[f"survey_{wanted.domain}"]
    missing = missing_sigma(wanted, drawn, already)
    return survey.noise(signal, missing, survey.usual("gain", wanted.gain), white)


def missing_sigma(wanted: Wanted, drawn: Tensor, already: Tensor) -> Tensor:
    """Return the noise of blank sky (B, band) that must be added; arguments as of `noise_of`."""
    sigma = torch.where(torch.isfinite(wanted.sigma), wanted.sigma, drawn.to(wanted.sigma))
    return torch.sqrt(torch.maximum(sigma**2 - already, LEAST_SHARE * sigma**2))


def _observation(networks, observed: Observed, wanted: Wanted, seeds, mean) -> Signal:
    """Return an observation by the poorer survey."""
    domain = wanted.domain
    operator, there = networks[f"operator_{domain}"], networks[f"survey_{OTHER[domain]}"]
    back = inverse(wanted.alignment)
    mixing = there.mixing(operator.colour, observed.bands)
    image, seeing = filled(observed.image.float(), observed.good), wanted.seeing
    signal = observe(networks, domain, image, observed.known, seeing, back, wanted.shape, mixing)
    width = networks[f"survey_{domain}"].usual("psf_fwhm", seeing)
    around = share_around(observed.good.to(image), width, wanted.pixel_scale / area(back).flatten().sqrt())
    good = sample(around, back.float(), wanted.shape) >= SUPPORT
    return Signal(signal, good, None)


def _restoration(networks, observed: Observed, wanted: Wanted, seeds, mean) -> Signal:
    """Return a restoration into the richer survey, whose sky still shows a little of the input's noise."""
    domain, here = wanted.domain, OTHER[wanted.domain]
    told = tell_of(networks, domain, observed, wanted.seeing, wanted.alignment, wanted.shape)
    signal = networks[f"restoration_{domain}"](told) if mean is None else mean
    if seeds is not None:
        signal = networks[f"draws_{domain}"](told.with_mean(signal), seeds[:-1])
    width = networks[f"survey_{here}"].usual("psf_fwhm", observed.known.psf_fwhm)
    least, most = torch.aminmax(told.there.flatten(2), dim=2)
    whole = bool(((least > 0.999) | (most <= 0)).all())  # the usual case: bands without gaps
    good = told.there > 0 if whole else share_around(told.there, width, wanted.pixel_scale) >= SUPPORT
    return Signal(signal, good, (box(told.plain, SMOOTH) < told.sigma) & (told.there > SUPPORT))


def sky_variance(signal: Tensor, sky: Tensor) -> Tensor:
    """Return the variance (B, band) of a restored signal where its input shows no light.

    The survey's noise must not repeat it. It is measured by the median distance of pixels below the sky's median from
    that median, because faint sources lie above it; 0 for an image with fewer than `LEAST_SKY` pixels of sky.

    Parameters
    ----------
    signal : Tensor
        (B, band, row, col).
    sky : Tensor
        Whether the input shows no light (bool, same shape).
    """
    found = torch.zeros(signal.shape[:2], device=signal.device)
    for place in torch.nonzero(sky.sum((-2, -1)) >= LEAST_SKY).tolist():
        values = signal[*place].masked_select(sky[*place])
        middle = values.median()
        found[*place] = (NORMAL * (middle - values.masked_select(values < middle)).median()) ** 2
    return found.nan_to_num()


def _each(randoms: list[Generator], shape, device: torch.device) -> Tensor:
    """Return normal numbers (B, *shape), each image's by its own generator, on the networks' device."""
    return torch.stack([torch.randn(*shape, generator=random) for random in randoms]).to(device)


def _on_cpu(network: nn.Module) -> nn.Module:
    """Return a network on the CPU, where random numbers are drawn."""
    there = next(network.parameters(), torch.zeros(()))
    return network if there.device.type == "cpu" else copy.deepcopy(network).cpu()


BY_GENERATOR = Use(_by_generator, is_random, lambda networks, domain: False, reads_any=False)
BY_OBSERVATION = Use(
    _by_observation,
    lambda networks, domain: True,
    lambda networks, domain: True,
    reads_any=True,
)
