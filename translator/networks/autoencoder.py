"""The autoencoder of step one: the smooth part of an image, without its noise."""

from torch import Tensor, nn

from translator.networks.layers import WIDTH, Grid, conv, leaky, pool, resize


class Autoencoder(nn.Module):
    """Image (B, bands, size, size) -> its noise-free reconstruction, alike, stretched.

    Three poolings to an eighth of the size and three resizes back, each to the size it came from, so any size of eight
    pixels or more works. The last layer is leaky as well. 2,162,501 parameters at full width with five bands.

    Args:
        here: The domain's grid.
        there: The other domain's; not used, but every network is built from both.
        width: Channels of the first layer.

    Raises:
        ValueError: Where an image has fewer than eight pixels a side.
    """

    def __init__(self, here: Grid, there: Grid, width: int = WIDTH) -> None:
        super().__init__()
        if here.size < 8:
            raise ValueError(f"the autoencoder halves an image three times, and {here.size} pixels a side are too few")
        w = width
        self.conv1 = conv(here.bands, w, 3)
        self.conv2 = conv(w, 2 * w, 3)
        self.conv3 = conv(2 * w, 4 * w, 3)
        self.conv4 = conv(4 * w, 4 * w, 3)
        self.conv5 = conv(4 * w, 4 * w, 3)
        self.conv6 = conv(4 * w, 2 * w, 3)
        self.conv7 = conv(2 * w, w, 5)
        self.conv8 = conv(w, w, 5)
        self.conv9 = conv(w, here.bands, 5)

    def forward(self, image: Tensor) -> Tensor:
        """(B, bands, size, size) -> (B, bands, size, size)."""
        sizes = []
        for layer in (self.conv1, self.conv2, self.conv3):
            sizes.append(image.shape[-1])
            image = pool(leaky(layer(image)))
        image = leaky(self.conv4(image))
        for layer in (self.conv5, self.conv6, self.conv7):
            image = leaky(layer(resize(image, sizes.pop())))
        return leaky(self.conv9(leaky(self.conv8(image))))
