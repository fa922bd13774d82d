"""The discriminators of images and of patches, and a loss of many parts that keeps one in memory at a time."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from translator.networks.layers import WIDTH, Grid, conv, dense, instance_norm, leaky, pool, precise, same


def at_once(loss: Callable[[Tensor], Tensor], image: Tensor, network: nn.Module) -> Tensor:
    """Return the scalar `loss(image)`, whose gradient is computed at once and not in the backward pass.

    The outputs of its layers are freed before the next part is computed, so ten parts need the memory of one, without
    more operations. The gradient is the same; a gradient of the gradient is not available.

    Parameters
    ----------
    loss : callable
        A function of the image and of the network's parameters alone.
    image : Tensor
        (B, C, H, W).
    network : Module
        The network whose parameters the loss reads.
    """
    parameters = list(network.parameters())
    if not torch.is_grad_enabled() or not any(tensor.requires_grad for tensor in (image, *parameters)):
        return loss(image)
    return _AtOnce.apply(loss, image, *parameters)


class _AtOnce(torch.autograd.Function):
    """The function of `at_once` in the form that PyTorch needs."""

    @staticmethod
    def forward(ctx, loss: Callable[[Tensor], Tensor], image: Tensor, *parameters: Tensor) -> Tensor:
        """Return the scalar, and keep its gradients for all inputs that need one."""
        wanted = ctx.needs_input_grad[1:]
        with torch.enable_grad():
            image = image.detach().requires_grad_(wanted[0])
            value = loss(image)
        inputs = [tensor for tensor, is_wanted in zip((image, *parameters), wanted, strict=True) if is_wanted]
        with torch.autocast(image.device.type, enabled=False):
            found = iter(torch.autograd.grad(value, inputs))
        ctx.gradients = [next(found) if is_wanted else None for is_wanted in wanted]
        return value.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx, weight: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients, times the weight that the scalar has in the whole loss."""
        return None, *(None if gradient is None else gradient * weight for gradient in ctx.gradients)


HIGH_PASS = (
    (-1.0, 3.0, -4.0, 3.0, -1.0),
    (3.0, -8.0, 10.0, -8.0, 3.0),
    (-4.0, 10.0, -12.0, 10.0, -4.0),
    (3.0, -8.0, 10.0, -8.0, 3.0),
    (-1.0, 3.0, -4.0, 3.0, -1.0),
)


class Discriminator(nn.Module):
    """Stretched images (B, bands, size, size) to logits (B, bands), positive for real images.

    A fixed 5x5 high-pass filter hides the galaxies' smooth light; then each band has a sub-discriminator of its own.
    3,859,845 parameters at full width with five bands.

    In a training in bf16, the high-pass filter and the Fourier branch stay in float32.

    Parameters
    ----------
    here : Grid
        The domain's grid.
    there : Grid
        The other domain's grid; not used.
    width : int
        Channels of the first layers.

    Raises
    ------
    ValueError
        If an image has fewer than twelve pixels a side.
    """

    def __init__(self, here: Grid, there: Grid, width: int = WIDTH) -> None:
        super().__init__()
        if here.size < 12:
            raise ValueError(f"the discriminator needs images of 12 pixels a side or more, not {here.size}")
        self.register_buffer("high_pass", torch.tensor(HIGH_PASS)[None, None], persistent=False)
        self.bands = nn.ModuleList(BandDiscriminator(width) for _ in range(here.bands))

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (B, bands) of images (B, bands, size, size)."""
        return torch.cat([judge(detail) for judge, detail in zip(self.bands, self._details(image), strict=True)], dim=1)

    def mean(self, loss: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
        """Return the mean of `loss`, a function of each logit, over batch and bands.

        One band is in memory at a time.
        """
        parts = [
            at_once(lambda seen, judge=judge: loss(judge(seen)).mean(), detail, judge)
            for judge, detail in zip(self.bands, self._details(image), strict=True)
        ]
        return sum(parts) / len(parts)

    def _details(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return high-passed images (B, 1, size - 4, size - 4) of each band, in float32 at least."""
        bands = len(self.bands)
        kernel = self.high_pass.expand(bands, 1, -1, -1)
        return precise(lambda image: F.conv2d(image, kernel.to(image.dtype), groups=bands), image).split(1, dim=1)


class BandDiscriminator(nn.Module):
    """High-passed images of one band (B, 1, H, W) to logits (B, 1).

    One branch sees the image, the other its Fourier transform (real and imaginary part, zero frequency at the corner,
    not normalised); both end as mean, maximum and minimum over the pixels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        w, wide = width, 2 * width
        self.fft_conv1 = conv(2, w, 7)
        self.fft_conv2, self.attention_fft_conv2 = conv(w, w, 7), dense(w, w)
        self.fft_conv3, self.attention_fft_conv3 = conv(w, w, 7), dense(w, w)
        self.fft_conv4, self.attention_fft_conv4 = conv(w, wide, 3), dense(wide, wide)
        self.fft_conv5, self.attention_fft_conv5 = conv(wide, wide, 3), dense(wide, wide)
        self.conv1 = conv(1, w, 3)
        self.conv2, self.attention_conv2 = conv(w, w, 3), dense(w, w)
        self.conv3, self.attention_conv3 = conv(w, w, 3), dense(w, w)
        self.fc1, self.fc2 = dense(3 * wide + 3 * w, max(1, width // 2)), dense(max(1, width // 2), 1)

    def forward(self, detail: Tensor) -> Tensor:
        """Return logits (B, 1) of high-passed images (B, 1, H, W)."""
        spectrum = precise(self._summary_of_spectrum, detail)
        detail = pool(leaky(self.conv1(detail)))
        detail = attend(leaky(self.conv2(detail)), self.attention_conv2, pool)
        detail = attend(leaky(self.conv3(detail)), self.attention_conv3)
        summary = torch.cat([spectrum, summarise(detail)], dim=1)
        return precise(lambda summary: self.fc2(leaky(self.fc1(summary))), summary)

    def _summary_of_spectrum(self, detail: Tensor) -> Tensor:
        """Return the summary (B, 3 x channels) of the Fourier transform of images (B, 1, H, W)."""
        spectrum = torch.view_as_real(torch.fft.fft2(detail[:, 0])).permute(0, 3, 1, 2)
        spectrum = pool(leaky(self.fft_conv1(spectrum)))
        spectrum = attend(leaky(self.fft_conv2(spectrum)), self.attention_fft_conv2, pool)
        spectrum = attend(leaky(self.fft_conv3(spectrum)), self.attention_fft_conv3, pool)
        spectrum = attend(leaky(self.fft_conv4(spectrum)), self.attention_fft_conv4, pool)
        return summarise(attend(leaky(self.fft_conv5(spectrum)), self.attention_fft_conv5))


def attend(image: Tensor, layer: nn.Linear, after: Callable[[Tensor], Tensor] = lambda image: image) -> Tensor:
    """Scale each channel of (B, C, H, W) by a weight between 0 and 1 made from all channels' means.

    A pooling that comes `after` is done before the scaling, which gives the same result from a quarter of the pixels.
    """
    weight = torch.sigmoid(layer(image.mean((-2, -1))))
    return after(image) * weight[..., None, None]


def summarise(image: Tensor) -> Tensor:
    """Return mean, maximum and minimum over the pixels, (B, C, H, W) -> (B, 3C); ties share their gradient."""
    return torch.cat([image.mean((-2, -1)), image.amax((-2, -1)), image.amin((-2, -1))], dim=1)


class PatchDiscriminator(nn.Module):
    """Stretched images (B, bands, size, size) to logits (B, 1, size / 8, size / 8), positive for real patches.

    Three convolutions of stride two and two of stride one; all but the first and last are instance-normalised, after
    the activation. 2,766,785 parameters at full width with five bands.

    Parameters
    ----------
    here : Grid
        The domain's grid.
    there : Grid
        The other domain's grid; not used.
    width : int
        Channels of the first layer.

    Raises
    ------
    ValueError
        If an image has fewer than 16 pixels a side.
    """

    def __init__(self, here: Grid, there: Grid, width: int = WIDTH) -> None:
        super().__init__()
        if here.size < 16:
            raise ValueError(f"the patch discriminator needs images of 16 pixels a side or more, not {here.size}")
        w = width
        layers = [(here.bands, w, 2), (w, 2 * w, 2), (2 * w, 4 * w, 2), (4 * w, 8 * w, 1), (8 * w, 1, 1)]
        self.layers = nn.ModuleDict(
            {
                f"conv{number}": conv(inside, outside, 4, padding=0, stride=stride)
                for number, (inside, outside, stride) in enumerate(layers)
            }
        )

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (B, 1, rows, cols) of images (B, bands, size, size)."""
        first, *inner, last = self.layers.values()
        image = leaky(same(first, image))
        for layer in inner:
            image = instance_norm(leaky(same(layer, image)))
        return precise(partial(same, last), image)

    def mean(self, loss: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
        """Return the mean of `loss`, a function of each logit, over batch and patches."""
        return loss(self(image)).mean()
