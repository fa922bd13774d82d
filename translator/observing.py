"""Observations of one survey made from the other's images: how the networks of `psf_matched` are used.

One of the two domains is the poorer, into which an `ObservationOperator` leads; the other is the richer, into which a
`Restoration` and its `Draws` lead. Images are flux (B, band, row, col) [nanomaggy/pixel] on the grid of their survey.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps

import torch
from torch import Tensor, nn

from translator.images import OTHER, Images, Known
from translator.networks.observation_operator import NoOperator, area
from translator.networks.restoration import Told, box, tell

PSF_STEPS, SIGMA_STEPS = 5.0, 3.0  # of the logarithms in which seeing and noise are told
LEAST_NOISE = 0.2  # part of the poorer survey's noise that is always added
PAIRS_BY_NOISE = 4.0  # real pairs in a batch for each part of an observation's noise that its target has too
SUPPORT = 0.5  # share of the pixels around, within the input's seeing, below which an output pixel is flagged


@dataclass(frozen=True)
class Spoiling:
    """How observations that a restoration learns from are made like the images that users have.

    Attributes
    ----------
    paired : float
        Share of a batch that is real pairs instead of observations made by the operator, if the richer survey is much
        deeper than the poorer one; see `share_of_pairs`.
    unknown : float
        Share of a batch whose seeing, and share of it whose noise, is not told.
    few_bands : float
        Share of a batch that may lack bands.
    left : float
        Chance of each band of these to be kept.
    gaps : float
        Share of a batch that has a gap.
    largest_gap : float
        Largest side of a gap, in units of the image's side.
    in_all_bands : float
        Chance that a gap is in all bands.
    uneven_sky : float
        Share of a batch whose sky was not subtracted well.
    sky_left : float
        Standard deviation of the sky that is left, and of its change over the image, in units of the noise.
    saturated : float
        Share of a batch whose brightest pixels are flagged, as those of a bright star are.
    least_full : float
        Flux up to which no pixel counts as saturated, in units of the noise.
    """

    paired: float = 0.08
    unknown: float = 0.08
    few_bands: float = 0.1
    left: float = 0.6
    gaps: float = 0.1
    largest_gap: float = 0.2
    in_all_bands: float = 0.5
    uneven_sky: float = 0.25
    sky_left: float = 0.1
    saturated: float = 0.05
    least_full: float = 20.0


USUAL = Spoiling()


@dataclass(frozen=True)
class Observed:
    """Images of a survey with their conditions.

    Attributes
    ----------
    image : Tensor
        Flux (B, band, row, col) [nanomaggy/pixel], finite everywhere.
    good : Tensor
        Whether each pixel may be used (bool, same shape). A missing band has no such pixel.
    known : Known
        Conditions of the images.
    """

    image: Tensor
    good: Tensor
    known: Known

    @property
    def bands(self) -> Tensor:
        """Whether each image has each band (B, band), bool."""
        return self.good.any(-1).any(-1)


@dataclass(frozen=True)
class Scene:
    """An example that a restoration learns from: its input, and the image that it should make of it.

    Attributes
    ----------
    told : Told
        What the network is told of an observation.
    target : Tensor
        The richer survey's images (B, band, row, col) [nanomaggy/pixel].
    known : Known
        Conditions of the target.
    weight : Tensor
        1 for bands that the observation has, else 0 (B, band, 1, 1).
    """

    told: Told
    target: Tensor
    known: Known
    weight: Tensor


def exact(function: Callable) -> Callable:
    """Compute a function in float32, even if the networks around it are passed in bfloat16."""

    @wraps(function)
    def computed(*arguments):
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            return function(*arguments)

    return computed


def leads_down(networks: nn.ModuleDict, domain: str) -> bool:
    """Return whether `domain` is the poorer one of a model's two, into which the operator leads."""
    return not isinstance(networks[f"operator_{domain}"], NoOperator)


def observe(
    networks: nn.ModuleDict,
    domain: str,
    image: Tensor,
    known: Known,
    seeing: Tensor,
    alignment: Tensor,
    size: int | tuple[int, int],
    mixing: Tensor | None = None,
    *,
    apart: bool = False,
) -> Tensor:
    """Return the richer survey's images as the poorer survey would see them, without noise of its own.

    Parameters
    ----------
    networks : ModuleDict
        Networks of the model.
    domain : str
        Domain of the poorer survey.
    image : Tensor
        Images of the richer survey (B, band, row, col) [nanomaggy/pixel].
    known : Known
        Conditions of these images.
    seeing : Tensor
        Seeing that the observations shall have (B, band) [arcsec]; NaN stands for the survey's usual one.
    alignment : Tensor
        From the observations' grid to the images' (B, 2, 3).
    size : int or tuple of int
        Rows and columns of the observations; one number if they are square.
    mixing : Tensor, optional
        How bands mix (B, band, band), if some are missing.
    apart : bool
        Whether rows and columns may be sampled one after the other, because no alignment turns.

    Returns
    -------
    Tensor
        Flux (B, band, *size) [nanomaggy/pixel].
    """
    surveys = networks[f"survey_{domain}"], networks[f"survey_{OTHER[domain]}"]
    here, there = surveys[0].usual("psf_fwhm", seeing), surveys[1].usual("psf_fwhm", known.psf_fwhm)
    return networks[f"operator_{domain}"](image, here, there, alignment, size, mixing, apart)


def blank_sigma(networks: nn.ModuleDict, domain: str, known: Known) -> Tensor:
    """Return the noise of blank sky (B, band) of images whose stores state `known`; the survey's usual if unknown."""
    survey = networks[f"survey_{domain}"]
    return survey.usual("sky_sigma", known.sky_sigma) * survey.sigma_ratio


def seen_variance(networks: nn.ModuleDict, domain: str, known: Known, seeing: Tensor, alignment: Tensor) -> Tensor:
    """Return the variance (B, band) that the richer survey's noise has in an observation of its images.

    Arguments are those of `observe`.
    """
    operator, there = networks[f"operator_{domain}"], networks[f"survey_{OTHER[domain]}"]
    shape = 64, 64
    here_seeing = networks[f"survey_{domain}"].usual("psf_fwhm", seeing)
    transfer = operator.transfer(here_seeing, there.usual("psf_fwhm", known.psf_fwhm), shape)
    half = torch.full((shape[1] // 2 + 1,), 2.0, device=transfer.device)
    half[0] = half[-1] = 1.0  # these frequencies of the half plane stand for one of the whole plane, others for two
    passed = (transfer**2 * there.power(shape) * half).sum((-2, -1)) / (shape[0] * shape[1])
    variance = blank_sigma(networks, OTHER[domain], known) ** 2 * passed * area(alignment)[..., 0, 0] ** 2
    return variance @ (operator.colour**2).mT


@exact
def tell_of(
    networks: nn.ModuleDict,
    domain: str,
    observed: Observed,
    seeing: Tensor,
    alignment: Tensor,
    size: int | tuple[int, int],
) -> Told:
    """Return what a restoration into `domain`, the richer survey, is told of observations.

    Parameters
    ----------
    networks : ModuleDict
        Networks of the model.
    domain : str
        Domain of the richer survey.
    observed : Observed
        Images of the poorer survey.
    seeing : Tensor
        Seeing that the restored images shall have (B, band) [arcsec].
    alignment : Tensor
        From the observations' grid to that of the restored images (B, 2, 3).
    size : int or tuple of int
        Rows and columns of the restored images; one number if they are square.
    """
    here, there = networks[f"survey_{OTHER[domain]}"], networks[f"survey_{domain}"]
    known = observed.known.map(lambda each: torch.where(observed.bands, each, torch.nan))
    sigma = blank_sigma(networks, OTHER[domain], known)
    told = [
        PSF_STEPS * torch.log(here.usual("psf_fwhm", known.psf_fwhm) / here.psf_fwhm),
        PSF_STEPS * torch.log(there.usual("psf_fwhm", seeing) / there.psf_fwhm),
        SIGMA_STEPS * torch.log(sigma / (here.sky_sigma * here.sigma_ratio)),
    ]
    return tell(observed.image, observed.good, torch.cat(told, 1), sigma, alignment, size)


def share_around(there: Tensor, seeing: Tensor, pixel_scale: float | Tensor) -> Tensor:
    """Return the share of usable pixels in a square around each pixel (B, band, row, col); none lie beyond the edge.

    Parameters
    ----------
    there : Tensor
        1 for usable pixels, else 0 (B, band, row, col).
    seeing : Tensor
        Seeing (B, band) [arcsec]; the median of an image's bands is the side of its squares.
    pixel_scale : float or Tensor
        Of all images, or of each (B,) [arcsec/pixel].
    """
    across = seeing.median(-1).values.double() / pixel_scale
    widths = (2 * torch.round(across / 2) + 1).int().tolist()
    if len(set(widths)) == 1:
        return box(there, widths[0])
    return torch.cat([box(each, width) for each, width in zip(there.split(1), widths, strict=True)])


def scene(images: Images, domain: str, spoiling: Spoiling = USUAL) -> Scene:
    """Return the examples that a restoration into `domain` learns from in one batch.

    Each slot of the batch is an unpaired image of the richer survey, observed by the operator under the seeing and
    noise of an unpaired image of the poorer one and on a grid that lies as that of a pair; a few slots are real pairs.
    Some observations have gaps, lack bands, or are not told their seeing or noise, as users' images are.

    Parameters
    ----------
    images : Images
        Images of a batch with pairs.
    domain : str
        Domain of the richer survey.
    spoiling : Spoiling
        How often observations are spoilt, and how much.
    """
    return images.once(f"scene {spoiling}", domain, lambda: _scene(images, domain, spoiling))


@torch.no_grad()
@exact
def _scene(images: Images, domain: str, spoiling: Spoiling) -> Scene:
    """Make the examples of one batch."""
    networks, batch, here = images.networks, images.batch, OTHER[domain]
    pair_here, pair_there = images.target(here), images.target(domain)
    count, size = len(images.real(domain)), images.real(domain).shape[-1]
    target, known = images.real(domain), batch.known[domain]
    ours = batch.known[here]
    made = observe(networks, here, target, known, ours.psf_fwhm, batch.alignment, images.real(here).shape[-1])
    survey = networks[f"survey_{here}"]
    sigma = blank_sigma(networks, here, ours)
    already = seen_variance(networks, here, known, ours.psf_fwhm, batch.alignment)
    missing = torch.sqrt((sigma**2 - already).clamp(min=0) + (LEAST_NOISE * sigma) ** 2 * (already > sigma**2))
    white = images.draw(torch.randn, *made.shape[1:])
    made = made + survey.noise(made, missing, survey.usual("gain", ours.gain), white)
    paired = images.draw(torch.rand, 1) < share_of_pairs(already / sigma**2, spoiling)

    def choose(pair: Tensor, other: Tensor) -> Tensor:
        return torch.where(paired.reshape(count, *[1] * (other.ndim - 1)), pair, other)

    def known_of(pair: Known, other: Known) -> Known:
        fields = ("psf_fwhm", "sky_sigma", "gain")
        return Known(*(choose(getattr(pair, name), getattr(other, name)) for name in fields))

    made, target = choose(pair_here, made), choose(pair_there, target)
    known, ours = known_of(batch.known[f"pair_{domain}"], known), known_of(batch.known[f"pair_{here}"], ours)
    sigma = blank_sigma(networks, here, ours)
    made = leave_sky(images, made, sigma, spoiling)
    observed, seeing = spoil(images, made, ours, known.psf_fwhm, sigma, spoiling)
    told = tell_of(networks, domain, observed, seeing, batch.alignment, size)
    return Scene(told, target, known, observed.bands.to(target)[..., None, None])


def share_of_pairs(known_noise: Tensor, spoiling: Spoiling = USUAL) -> Tensor:
    """Return the chance (B, 1) of each slot of a batch to be a real pair.

    The noise of a target is also in the observation that is made of it. Where the richer survey is much deeper, this
    noise is negligible. Where both surveys are about as deep, a network that learns from such observations learns to
    restore the noise as well; in a real pair the noise of both images is independent. With a share p of pairs and a
    share s of the observation's noise that the target has too, (1 - p) s of that noise is restored. With p = 4 s this
    is at most a sixteenth.

    Parameters
    ----------
    known_noise : Tensor
        Share of the variance of an observation's noise that its target has too (B, band).
    spoiling : Spoiling
        The least share of pairs.
    """
    return (PAIRS_BY_NOISE * known_noise.median(1, keepdim=True).values).clamp(spoiling.paired, max(spoiling.paired, 1))


def leave_sky(images: Images, image: Tensor, sigma: Tensor, spoiling: Spoiling = USUAL) -> Tensor:
    """Return images, to some of which a level and a slope of sky are added that their survey left in.

    Parameters
    ----------
    images : Images
        The source of random numbers.
    image : Tensor
        Images (B, band, row, col).
    sigma : Tensor
        Their noise (B, band).
    spoiling : Spoiling
        How often and how much.
    """
    bands, rows, cols = image.shape[1:]
    left = spoiling.sky_left * sigma[..., None] * images.draw(torch.randn, bands, 3)
    left = torch.where(images.draw(torch.rand, 1)[..., None] < spoiling.uneven_sky, left, 0.0)[..., None, None]
    down, along = (torch.linspace(-1.0, 1.0, side, device=image.device) for side in (rows, cols))
    return image + left[:, :, 0] + left[:, :, 1] * down[:, None] + left[:, :, 2] * along


def spoil(
    images: Images, image: Tensor, known: Known, seeing: Tensor, sigma: Tensor, spoiling: Spoiling = USUAL
) -> tuple[Observed, Tensor]:
    """Return observations as some users have them: with gaps or saturated pixels, without bands, of unknown conditions.

    Parameters
    ----------
    images : Images
        The source of random numbers.
    image : Tensor
        Images (B, band, row, col).
    known : Known
        Their conditions.
    seeing : Tensor
        Seeing of the targets (B, band) [arcsec].
    sigma : Tensor
        Noise of the images (B, band).
    spoiling : Spoiling
        How often and how much.

    Returns
    -------
    observed : Observed
        The spoilt images.
    seeing : Tensor
        Seeing of the targets; NaN for those of which it is not told.
    """
    bands, side = image.shape[1:3]
    good = torch.isfinite(image)
    gap, largest = images.draw(torch.rand, 4), spoiling.largest_gap
    place = torch.arange(side, device=image.device) / side
    sides = [(place >= gap[:, i, None]) & (place < gap[:, i, None] + largest * gap[:, i + 2, None]) for i in (0, 1)]
    hole = (sides[0][:, :, None] & sides[1][:, None])[:, None]
    chance = images.draw(torch.rand, bands + 2)
    which = (chance[:, :1] < spoiling.in_all_bands) | (chance[:, 2:] < 1 / bands)
    hole = hole & (which & (chance[:, 1:2] < spoiling.gaps))[..., None, None]
    there = images.draw(torch.rand, bands + 1)
    left = (there[:, 1:] < spoiling.left) | (there[:, 1:] == there[:, 1:].min(1, keepdim=True).values)
    left = left | (there[:, :1] >= spoiling.few_bands)
    untold = images.draw(torch.rand, 3) < spoiling.unknown

    def forget(value: Tensor, which: int) -> Tensor:
        return torch.where(untold[:, which, None], torch.nan, value)

    known = Known(forget(known.psf_fwhm, 0), forget(known.sky_sigma, 1), known.gain)
    good = good & ~hole & ~_saturated(images, image, sigma, spoiling) & left[..., None, None]
    return Observed(torch.where(good, image, 0.0), good, known), forget(seeing, 2)


def _saturated(images: Images, image: Tensor, sigma: Tensor, spoiling: Spoiling) -> Tensor:
    """Return whether each pixel counts as saturated (B, band, row, col): in a few images, those above a drawn level.

    The level is a share of the brightest pixel, drawn for each image and band, so that not all bands of an image need
    be saturated. Pixels that are lost in the noise `sigma` (B, band) are never saturated.
    """
    chance = images.draw(torch.rand, image.shape[1] + 2)
    share = (0.2 + 0.7 * chance[:, 1, None] + 0.5 * (chance[:, 2:] - 0.5)).clamp(min=0.1)
    least = spoiling.least_full * sigma[..., None, None]
    level = torch.maximum(share[..., None, None] * image.amax((-2, -1), keepdim=True), least)
    return (image > level) & (chance[:, 0] < spoiling.saturated)[:, None, None, None]
