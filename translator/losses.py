"""Losses: each maps the images of one domain to a scalar. Equations as numbered in the paper.

|.|^2 is a mean over batch, bands and pixels (the authors' code; the paper writes norms), log terms are means over batch
and bands of the discriminator D, which gives logits. Below, x is an unpaired image of the domain, A its autoencoder, NE
its noise emulator, G the generator that lands in it, F = G + NE, E its latent encoder, DL its latent discriminator, and
x', G', … those of the other domain.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from translator.images import OTHER, Images
from translator.observing import USUAL, Spoiling, blank_sigma, leads_down, observe, scene


def reads_pairs(loss: Callable) -> Callable:
    """Mark a loss that needs a pair table, since it reads images of objects that both surveys saw."""
    loss.reads_pairs = True
    return loss


def reconstruction(images: Images, domain: str) -> Tensor:
    """Eq. 1: |A(x) - x|^2. The smooth image is compared with the noisy one, so A learns the mean."""
    return F.mse_loss(images.clean(domain), images.real(domain))


def noise_discrimination(images: Images, domain: str) -> Tensor:
    """Eq. 2: -log D(x) - log(1 - D(A(x) + NE))."""
    return _tell_apart(images, domain, images.noisy(domain))


def noise_adversarial(images: Images, domain: str) -> Tensor:
    """Eq. 3: -log D(A(x) + NE)."""
    return images.judged(_real, images.noisy(domain), domain)


def discrimination(images: Images, domain: str) -> Tensor:
    """-log D(x) - log(1 - D(F(x'))): between the domain's own images and translations of unpaired ones."""
    return _tell_apart(images, domain, images.fake(domain))


def adversarial(images: Images, domain: str) -> Tensor:
    """-log D(F(x'))."""
    return images.judged(_real, images.fake(domain), domain)


@reads_pairs
def identity(images: Images, domain: str) -> Tensor:
    """Eq. 4: |G(x') - x|^2 over objects that both surveys saw, without noise added."""
    return F.mse_loss(images.paired(domain), images.target(domain))


def cycle(images: Images, domain: str) -> Tensor:
    """Eq. 5: |G(G'(x) + NE') - x|^2. Noise enters between the halves; gradients pass through both."""
    return F.mse_loss(images.cycled(domain), images.real(domain))


def pseudo_identity(images: Images, domain: str, ratio: float) -> Tensor:
    """Eq. 6: |r G(x') - x'|^2 onto the larger pixels, |G(x') - r x'|^2 onto the smaller: on the larger ones both times.

    Images of the smaller pixels are resized to the others' size and multiplied by the ratio r of the pixel scales. The
    paper's own image of an object thus stands in for the pair that is not there.
    """
    size = min(images.real(d).shape[-1] for d in OTHER)

    def coarse(image: Tensor) -> Tensor:
        return image if image.shape[-1] == size else ratio * bilinear(image, size)

    return F.mse_loss(coarse(images.translated(domain)), coarse(images.real(OTHER[domain])))


def latent_cycle(images: Images, domain: str) -> Tensor:
    """|E(F(x'), x') - z|^2 of the code z that made F(x'), a mean over batch and code."""
    return F.mse_loss(images.encoded_back(domain), images.latent(domain))


@reads_pairs
def latent_discrimination(images: Images, domain: str) -> Tensor:
    """-log DL(z) - log(1 - DL(E)), summed over the codes of the unpaired images and of the pairs."""
    drawn = images.latent(domain), images.paired_latent(domain)
    read = images.encoded(domain), images.encoded_pairs(domain)
    real = sum(_real(images.score_latent(latent, domain)).mean() for latent in drawn)
    return real + sum(_fake(images.score_latent(latent, domain)).mean() for latent in read)


@reads_pairs
def latent_adversarial(images: Images, domain: str) -> Tensor:
    """-log DL(E), summed over the codes of the unpaired images and of the pairs."""
    read = images.encoded(domain), images.encoded_pairs(domain)
    return sum(_real(images.score_latent(latent, domain)).mean() for latent in read)


@reads_pairs
def observation(images: Images, domain: str) -> Tensor:
    """H((O(y) - x) / s), of pairs: what the operator O makes of the richer survey's image y is the poorer one's x.

    H is Huber's function beyond `ROBUST`, and s² = sigma² + (0.01 O(y))² the variance to expect, so that neighbours
    that have moved or saturated do not decide. 0 in the domain of the richer survey.
    """
    networks, batch, there, real = images.networks, images.batch, OTHER[domain], images.target(domain)
    if not leads_down(networks, domain):
        return real.new_zeros(())
    known = batch.known[f"pair_{domain}"]
    seen = observe(
        networks,
        domain,
        images.target(there),
        batch.known[f"pair_{there}"],
        known.psf_fwhm,
        batch.alignment,
        real.shape[-1],
    )
    sigma = blank_sigma(networks, domain, known)[..., None, None]
    expected = torch.sqrt(sigma**2 + (UNCERTAIN * seen.detach()) ** 2)
    return _huber((seen - real) / expected)


@reads_pairs
def posterior_mean(images: Images, domain: str, spoiling: Spoiling = USUAL) -> Tensor:
    """H((R(x) - y) / e): the restoration R of an observation x is compared with the richer survey's image y.

    H is Huber's function beyond `ROBUST`, and e is the error to expect. It depends on x alone, so R learns the mean of
    y given x, and photometry is not biased. 0 in the domain of the poorer survey.
    """
    if leads_down(images.networks, domain):
        return images.target(domain).new_zeros(())
    learnt = scene(images, domain, spoiling)
    made = images.networks[f"restoration_{domain}"](learnt.told)
    return _huber((made - learnt.target) / learnt.told.error * learnt.weight)


@reads_pairs
def posterior_draws(images: Images, domain: str, spoiling: Spoiling = USUAL) -> Tensor:
    """Almost fair CRPS of two draws u and v, with noise: (|u - y| + |v - y|) / 2 - 0.475 |u - v|, over e.

    A sum over squares of 1 to 34 pixels a side, whose means are compared, each multiplied by the root of the side. The
    larger squares tile the image twice, from its corner and half a square from it, so that one lies on the galaxy.
    With 0.5 in place of 0.475 the score would be fair (Lang et al. 2024); the difference keeps two draws from becoming
    one and the same. 0 in the domain of the poorer survey.
    """
    if leads_down(images.networks, domain):
        return images.target(domain).new_zeros(())
    learnt, survey = scene(images, domain, spoiling), images.networks[f"survey_{domain}"]
    network = images.networks[f"draws_{domain}"]
    with torch.no_grad():
        told = learnt.told.with_mean(images.networks[f"restoration_{domain}"](learnt.told))
    sigma = blank_sigma(images.networks, domain, learnt.known)
    gain = survey.usual("gain", learnt.known.gain)
    drawn = []
    for _ in range(2):
        seeds = [images.draw(torch.randn, *shape) for shape in network.seed_shapes(tuple(told.plain.shape[-2:]))]
        signal = network(told, seeds)
        white = images.draw(torch.randn, *signal.shape[1:])
        drawn.append(signal + survey.noise(signal.detach(), sigma, gain, white))
    loss = 0.0
    for side, first in SQUARES:
        u, v, y, e = (_means(each, side, first) for each in (*drawn, learnt.target, told.error))
        apart = 0.5 * ((u - y).abs() + (v - y).abs()) - 0.5 * FAIR * (u - v).abs()
        loss = loss + (apart / e * learnt.weight).mean() * side**0.5
    return loss


ROBUST = 3.0  # errors beyond which a difference counts linearly
UNCERTAIN = 0.01  # of its flux that a pixel of an observation may be wrong by
# Sides of the squares over which draws are scored, and where the first begins [pixel].
SQUARES = ((1, 0), (2, 0), (4, 0), (8, 0), (8, 4), (16, 0), (16, 12), (34, 0), (34, 17))
FAIR = 0.95  # of the spread between draws that the score takes off


def _means(image: Tensor, side: int, first: int) -> Tensor:
    """Means (B, C, …) over squares of `side` pixels from pixel `first` on, or of the whole of a smaller image."""
    first = first if min(image.shape[-2:]) >= first + side else 0
    side = min(side, *image.shape[-2:])
    return F.avg_pool2d(image[..., first:, first:], side) if side > 1 else image


def _huber(difference: Tensor) -> Tensor:
    """Mean of Huber's function: half the square up to `ROBUST`, linear beyond."""
    return F.huber_loss(difference, torch.zeros_like(difference), delta=ROBUST)


def bilinear(image: Tensor, size: int) -> Tensor:
    """Resize (B, C, H, H) to (B, C, size, size) as TensorFlow 1 does: pixel i is read at i H / size, without smoothing.

    The first pixels' centres fall on each other, not the images' edges, which shifts the image by half a pixel of the
    difference: the authors' code has it so, and no mode of `torch.nn.functional.interpolate` does.
    """
    place = torch.arange(size, device=image.device, dtype=torch.float64) * (image.shape[-1] / size)
    low = place.long()
    high = (low + 1).clamp(max=image.shape[-1] - 1)
    share = (place - low).to(image.dtype)
    image = torch.lerp(image[..., low, :], image[..., high, :], share[:, None])
    return torch.lerp(image[..., low], image[..., high], share)


def _tell_apart(images: Images, domain: str, fake: Tensor) -> Tensor:
    """A discriminator's cross-entropy over the domain's own unpaired images and as many fake ones."""
    return images.judged(_real, images.real(domain), domain) + images.judged(_fake, fake, domain)


def _real(logits: Tensor) -> Tensor:
    """Cross-entropy of each logit with the label "real"."""
    return F.softplus(-logits)


def _fake(logits: Tensor) -> Tensor:
    """Cross-entropy of each logit with the label "fake"."""
    return _real(-logits)
