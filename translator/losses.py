"""Losses: each maps the images of one domain to a scalar. Equations as numbered in the paper.

|.|^2 is a mean over batch, bands and pixels (the authors' code; the paper writes norms), log terms are means over batch
and bands of the discriminator D, which gives logits. Below, x is an unpaired image of the domain, A its autoencoder, NE
its noise emulator, G the generator that lands in it, F = G + NE, E its latent encoder, DL its latent discriminator, and
x', G', … those of the other domain.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from translator.images import OTHER, Images


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


def latent_discrimination(images: Images, domain: str) -> Tensor:
    """-log DL(z) - log(1 - DL(E)), summed over the codes of the unpaired images and of the pairs."""
    drawn = images.latent(domain), images.paired_latent(domain)
    read = images.encoded(domain), images.encoded_pairs(domain)
    real = sum(_real(images.score_latent(latent, domain)).mean() for latent in drawn)
    return real + sum(_fake(images.score_latent(latent, domain)).mean() for latent in read)


def latent_adversarial(images: Images, domain: str) -> Tensor:
    """-log DL(E), summed over the codes of the unpaired images and of the pairs."""
    read = images.encoded(domain), images.encoded_pairs(domain)
    return sum(_real(images.score_latent(latent, domain)).mean() for latent in read)


READ_PAIRS = frozenset({identity, latent_discrimination, latent_adversarial})  # losses that need a pair table


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
