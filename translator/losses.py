"""Losses: each maps the images of one domain to a scalar. Equations as numbered in the paper.

|.|^2 is a mean over batch, bands and pixels (the authors' code; the paper writes norms), log terms are means over batch
and bands of the discriminator D, which gives logits. Below, x is an unpaired image of the domain, A its autoencoder, NE
its noise emulator, G the generator that lands in it, and x', G' those of the other domain.
"""

import torch.nn.functional as F
from torch import Tensor

from translator.images import Images


def reconstruction(images: Images, domain: str) -> Tensor:
    """Eq. 1: |A(x) - x|^2. The smooth image is compared with the noisy one, so A learns the mean."""
    return F.mse_loss(images.clean(domain), images.real(domain))


def noise_discrimination(images: Images, domain: str) -> Tensor:
    """Eq. 2: -log D(x) - log(1 - D(A(x) + NE))."""
    real, fake = images.score(images.real(domain), domain), images.score(images.noisy(domain), domain)
    return _is_real(real) + _is_fake(fake)


def noise_adversarial(images: Images, domain: str) -> Tensor:
    """Eq. 3: -log D(A(x) + NE)."""
    return _is_real(images.score(images.noisy(domain), domain))


def identity(images: Images, domain: str) -> Tensor:
    """Eq. 4: |G(x') - x|^2 over objects that both surveys saw, without noise added.

    Raises:
        ValueError: Where the batch has no pairs.
    """
    if not len(images.target(domain)):
        raise ValueError("the identity loss needs pairs, and this batch has none")
    return F.mse_loss(images.paired(domain), images.target(domain))


def cycle(images: Images, domain: str) -> Tensor:
    """Eq. 5: |G(G'(x) + NE') - x|^2. Noise enters between the halves; gradients pass through both."""
    return F.mse_loss(images.cycled(domain), images.real(domain))


def _is_real(logits: Tensor) -> Tensor:
    """Cross-entropy with the label "real"."""
    return F.softplus(-logits).mean()


def _is_fake(logits: Tensor) -> Tensor:
    """Cross-entropy with the label "fake"."""
    return F.softplus(logits).mean()
