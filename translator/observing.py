"""Observations of one survey made from the other's images: how the networks of `psf_matched` are used.

Of the two domains one is the poorer, where an `ObservationOperator` leads, and the other the richer, where a
`Restoration` and its `Draws` lead. Images are flux (B, band, row, col) [nanomaggy/pixel] on either survey's grid.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps

import torch
from torch import Tensor, nn

from translator.images import OTHER, Images, Known
from translator.networks.observation_operator import NoOperator, area
from translator.networks.restoration import Told, box, tell

PAIRED = 0.08  # share of a batch that is real pairs instead of observations made by the operator
UNKNOWN = 0.08  # share of a batch whose seeing, and whose noise, are not told
FEW_BANDS = 0.1  # share of a batch of which some bands are missing
LEFT = 0.6  # chance of each of its bands to be there
GAPS = 0.1  # share of a batch that has a gap
LARGEST_GAP = 0.2  # of the image's side
IN_ALL_BANDS = 0.5  # chance that a gap is in all bands alike
UNEVEN_SKY = 0.25  # share of a batch whose sky was not subtracted well
SKY_LEFT = 0.1  # standard deviation of what is left of it, and of its change over the image, in units of the noise
SATURATED = 0.05  # share of a batch whose brightest pixels are flagged, as those of a bright star are
LEAST_FULL = 20.0  # in units of the noise, up to which no pixel counts as saturated
PSF_STEPS, SIGMA_STEPS = 5.0, 3.0  # of the logarithms in which seeing and noise are told
LEAST_NOISE = 0.2  # of the poorer survey's noise, that is always added
SUPPORT = 0.5  # share of the pixels around, within the input's seeing, below which an output pixel is flagged


@dataclass(frozen=True)
class Observed:
    """An image with what is known of it.

    Attributes:
        image: (B, band, row, col) flux, finite everywhere.
        good: Which of its pixels may be used (B, band, row, col), bool; none of a band that is not there.
        known: Of its survey.
    """

    image: Tensor
    good: Tensor
    known: Known

    @property
    def bands(self) -> Tensor:
        """Which bands are there (B, band), bool."""
        return self.good.any(-1).any(-1)


@dataclass(frozen=True)
class Scene:
    """What a restoration learns from: what it is told, and the image that it should have made.

    Attributes:
        told: Of an observation.
        target: The richer survey's image.
        known: Of the target.
        weight: 1 for bands that the observation has, else 0 (B, band, 1, 1).
    """

    told: Told
    target: Tensor
    known: Known
    weight: Tensor


def exact(function: Callable) -> Callable:
    """Have a function computed in float32 where the networks around it are passed in bfloat16."""

    @wraps(function)
    def computed(*arguments):
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            return function(*arguments)

    return computed


def leads_down(networks: nn.ModuleDict, domain: str) -> bool:
    """Whether `domain` is the poorer one of a model's two, that the operator leads to."""
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
) -> Tensor:
    """What the poorer survey would see of the richer one's image, without noise of its own.

    Args:
        networks: Of the model.
        domain: Of the poorer survey.
        image: Of the richer one.
        known: Of that image.
        seeing: That the observation shall have (B, band) [arcsec]; the survey's usual where it is NaN.
        alignment: From the observation's grid to the image's.
        size: Rows and columns of the observation; one number where it is square.
        mixing: Of its bands (B, band, band), where some are missing.
    """
    surveys = networks[f"survey_{domain}"], networks[f"survey_{OTHER[domain]}"]
    here, there = surveys[0].usual("psf_fwhm", seeing), surveys[1].usual("psf_fwhm", known.psf_fwhm)
    return networks[f"operator_{domain}"](image, here, there, alignment, size, mixing)


def blank_sigma(networks: nn.ModuleDict, domain: str, known: Known) -> Tensor:
    """Noise of blank sky (B, band) of images whose stores state `known`; the survey's usual where it is not known."""
    survey = networks[f"survey_{domain}"]
    return survey.usual("sky_sigma", known.sky_sigma) * survey.sigma_ratio


def seen_variance(networks: nn.ModuleDict, domain: str, known: Known, seeing: Tensor, alignment: Tensor) -> Tensor:
    """Variance (B, band) of what the richer survey's noise becomes in an observation of its image."""
    operator, there = networks[f"operator_{domain}"], networks[f"survey_{OTHER[domain]}"]
    shape = 64, 64
    here_seeing = networks[f"survey_{domain}"].usual("psf_fwhm", seeing)
    transfer = operator.transfer(here_seeing, there.usual("psf_fwhm", known.psf_fwhm), shape)
    half = torch.full((shape[1] // 2 + 1,), 2.0, device=transfer.device)
    half[0] = half[-1] = 1.0  # frequencies of the half plane that stand for one of the whole
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
    """What a restoration into `domain`, the richer survey, is told.

    Args:
        networks: Of the model.
        domain: Of the richer survey.
        observed: Image of the poorer one.
        seeing: That is wanted (B, band) [arcsec].
        alignment: From the observation's grid to the one that is wanted.
        size: Rows and columns of the grid that is wanted; one number where it is square.
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


def share_around(there: Tensor, seeing: Tensor, pixel_scale: float) -> Tensor:
    """Share of the pixels in a square around each that are there (B, band, row, col); beyond the edge none count.

    Args:
        there: 1 for pixels that are there, else 0.
        seeing: Whose median is the side of the square (B, band) [arcsec].
        pixel_scale: [arcsec/pixel].
    """
    width = 2 * round(float(seeing.median()) / pixel_scale / 2) + 1
    return box(there, width)


def scene(images: Images, domain: str) -> Scene:
    """What a restoration into `domain` learns from one batch: its images as the poorer survey would have seen them.

    Each slot of the batch is an unpaired image of the richer survey, observed by the operator under the seeing and
    noise of an unpaired image of the poorer one and on a grid as a pair's lies; or, for a few, a real pair. Some
    observations have gaps, lack bands, or are not told their seeing or noise, as users' images are.
    """
    return images.once("scene", domain, lambda: _scene(images, domain))


@torch.no_grad()
@exact
def _scene(images: Images, domain: str) -> Scene:
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
    paired = images.draw(torch.rand, 1) < PAIRED

    def choose(pair: Tensor, other: Tensor) -> Tensor:
        return torch.where(paired.reshape(count, *[1] * (other.ndim - 1)), pair, other)

    def known_of(pair: Known, other: Known) -> Known:
        fields = ("psf_fwhm", "sky_sigma", "gain")
        return Known(*(choose(getattr(pair, name), getattr(other, name)) for name in fields))

    made, target = choose(pair_here, made), choose(pair_there, target)
    known, ours = known_of(batch.known[f"pair_{domain}"], known), known_of(batch.known[f"pair_{here}"], ours)
    sigma = blank_sigma(networks, here, ours)
    observed, seeing = _spoil(images, _uneven_sky(images, made, sigma), ours, known.psf_fwhm, sigma)
    told = tell_of(networks, domain, observed, seeing, batch.alignment, size)
    return Scene(told, target, known, observed.bands.to(target)[..., None, None])


def _uneven_sky(images: Images, image: Tensor, sigma: Tensor) -> Tensor:
    """Images (B, band, row, col), to some of which a level and a slope of sky are added that their survey left in.

    `sigma` is their noise (B, band).
    """
    bands, rows, cols = image.shape[1:]
    left = SKY_LEFT * sigma[..., None] * images.draw(torch.randn, bands, 3)
    left = torch.where(images.draw(torch.rand, 1)[..., None] < UNEVEN_SKY, left, 0.0)[..., None, None]
    down, along = (torch.linspace(-1.0, 1.0, side, device=image.device) for side in (rows, cols))
    return image + left[:, :, 0] + left[:, :, 1] * down[:, None] + left[:, :, 2] * along


def _saturated(images: Images, image: Tensor, sigma: Tensor) -> Tensor:
    """Pixels (B, band, row, col) bool that count as saturated: in a few images those above a share of the brightest.

    The share is drawn for each image and band, so that not all of its bands need be saturated. `sigma` is the images'
    noise (B, band): what is lost in it is never saturated.
    """
    chance = images.draw(torch.rand, image.shape[1] + 2)
    share = (0.2 + 0.7 * chance[:, 1, None] + 0.5 * (chance[:, 2:] - 0.5)).clamp(min=0.1)
    level = torch.maximum(
        share[..., None, None] * image.amax((-2, -1), keepdim=True), LEAST_FULL * sigma[..., None, None]
    )
    return (image > level) & (chance[:, 0] < SATURATED)[:, None, None, None]


def _spoil(images: Images, image: Tensor, known: Known, seeing: Tensor, sigma: Tensor) -> tuple[Observed, Tensor]:
    """An observation as some users have them: with a gap or saturated pixels, without some bands, of unknown seeing or
    noise.

    Returns:
        It, and the seeing of the target, which is not told either now and then.
    """
    bands, side = image.shape[1:3]
    good = torch.isfinite(image)
    gap = images.draw(torch.rand, 4)
    place = torch.arange(side, device=image.device) / side
    sides = [(place >= gap[:, i, None]) & (place < gap[:, i, None] + LARGEST_GAP * gap[:, i + 2, None]) for i in (0, 1)]
    hole = (sides[0][:, :, None] & sides[1][:, None])[:, None]
    chance = images.draw(torch.rand, bands + 2)
    which = (chance[:, :1] < IN_ALL_BANDS) | (chance[:, 2:] < 1 / bands)
    hole = hole & (which & (chance[:, 1:2] < GAPS))[..., None, None]
    there = images.draw(torch.rand, bands + 1)
    left = (there[:, 1:] < LEFT) | (there[:, 1:] == there[:, 1:].min(1, keepdim=True).values)
    left = left | (there[:, :1] >= FEW_BANDS)
    untold = images.draw(torch.rand, 3) < UNKNOWN

    def forget(value: Tensor, which: int) -> Tensor:
        return torch.where(untold[:, which, None], torch.nan, value)

    known = Known(forget(known.psf_fwhm, 0), forget(known.sky_sigma, 1), known.gain)
    good = good & ~hole & ~_saturated(images, image, sigma) & left[..., None, None]
    return Observed(torch.where(good, image, 0.0), good, known), forget(seeing, 2)
