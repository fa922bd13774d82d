"""The discriminator: how real the noise and detail of each band look."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from translator.networks.layers import WIDTH, Grid, conv, dense, leaky, pool

HIGH_PASS = (
    (-1.0, 3.0, -4.0, 3.0, -1.0),
    (3.0, -8.0, 10.0, -8.0, 3.0),
    (-4.0, 10.0, -12.0, 10.0, -4.0),
    (3.0, -8.0, 10.0, -8.0, 3.0),
    (-1.0, 3.0, -4.0, 3.0, -1.0),
)


class Discriminator(nn.Module):
    """Image (B, bands, size, size), stretched -> logits (B, bands), positive for real.

    A fixed 5x5 high-pass filter hides the galaxies' smooth light; then each band has a sub-discriminator of its own.
    3,859,845 parameters at full width with five bands.

    Args:
        here: The domain's grid.
        there: The other domain's; not used.
        width: Channels of the first layers.

    Raises:
        ValueError: Where an image has fewer than twelve pixels a side.
    """

    def __init__(self, here: Grid, there: Grid, width: int = WIDTH) -> None:
        super().__init__()
        if here.size < 12:
            raise ValueError(f"the discriminator needs images of 12 pixels a side or more, not {here.size}")
        self.register_buffer("high_pass", torch.tensor(HIGH_PASS)[None, None], persistent=False)
        self.bands = nn.ModuleList(BandDiscriminator(width) for _ in range(here.bands))

    def forward(self, image: Tensor) -> Tensor:
        """(B, bands, size, size) -> (B, bands)."""
        bands = len(self.bands)
        detail = F.conv2d(image, self.high_pass.to(image.dtype).expand(bands, 1, -1, -1), groups=bands)
        return torch.cat([judge(detail[:, [band]]) for band, judge in enumerate(self.bands)], dim=1)


class BandDiscriminator(nn.Module):
    """High-passed image of one band (B, 1, H, W) -> logit (B, 1).

    One branch sees the image, one its Fourier transform (real and imaginary part, zero frequency at the corner, not
    normalised); both end as mean, maximum and minimum over the pixels.
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
        """(B, 1, H, W) -> (B, 1)."""
        spectrum = torch.view_as_real(torch.fft.fft2(detail[:, 0])).permute(0, 3, 1, 2)
        spectrum = pool(leaky(self.fft_conv1(spectrum)))
        spectrum = pool(attend(leaky(self.fft_conv2(spectrum)), self.attention_fft_conv2))
        spectrum = pool(attend(leaky(self.fft_conv3(spectrum)), self.attention_fft_conv3))
        spectrum = pool(attend(leaky(self.fft_conv4(spectrum)), self.attention_fft_conv4))
        spectrum = attend(leaky(self.fft_conv5(spectrum)), self.attention_fft_conv5)
        detail = pool(leaky(self.conv1(detail)))
        detail = pool(attend(leaky(self.conv2(detail)), self.attention_conv2))
        detail = attend(leaky(self.conv3(detail)), self.attention_conv3)
        summary = torch.cat([summarise(spectrum), summarise(detail)], dim=1)
        return self.fc2(leaky(self.fc1(summary)))


def attend(image: Tensor, layer: nn.Linear) -> Tensor:
    """Scale each channel of (B, C, H, W) by a weight between 0 and 1 made from all channels' means."""
    weight = torch.sigmoid(layer(image.mean((-2, -1))))
    return image * weight[..., None, None]


def summarise(image: Tensor) -> Tensor:
    """Mean, maximum and minimum over the pixels, (B, C, H, W) -> (B, 3C); ties share their gradient."""
    return torch.cat([image.mean((-2, -1)), image.amax((-2, -1)), image.amin((-2, -1))], dim=1)
