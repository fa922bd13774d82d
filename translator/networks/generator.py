"""The generators: the other domain's image -> the noise-free image that this domain's survey would see.

Which of the two layouts serves is decided by the sizes of the grids alone. Both change the size by an even factor, by
resizing a feature map; what is left to the exact size is padded or cropped alike on all sides.
"""

from torch import Tensor, nn

from translator.networks.layers import WIDTH, Grid, conv, frame, leaky, pool, resize

LARGEST_EDGE = 1 / 8  # of the map's size: a larger pad or crop on each side would invent or lose too much sky


def generator(here: Grid, there: Grid, width: int = WIDTH) -> nn.Module:
    """The generator whose images land on `here`, given images on `there`.

    Args:
        here: Grid of the images it makes.
        there: Grid of the images it is given.
        width: Channels of the first layer.

    Raises:
        ValueError: Where no even factor, with padding or cropping alike on all sides, leads from one size to the other.
    """
    layout = Growing if here.size > there.size else Shrinking
    return layout(here, there, width)


class Shrinking(nn.Module):
    """(B, there.bands, there.size, there.size) -> (B, here.bands, here.size, here.size), onto coarser pixels.

    136 to 64 pixels: encoded to 17, decoded to 68, cropped to 64 by a 5x5 convolution without padding. 1,019,269
    parameters at full width with five bands.
    """

    def __init__(self, here: Grid, there: Grid, width: int) -> None:
        super().__init__()
        factor = _even_factor(there.size, here.size)
        self.inner = there.size // factor
        self.edge = _edge(self.inner, here.size + 4, there.size % factor, here, there)
        w = width
        self.conv1 = conv(there.bands, w, 3)
        self.conv2 = conv(w, w, 3)
        self.conv3 = conv(w, 2 * w, 3)
        self.conv4 = conv(2 * w, 4 * w, 3)
        self.conv5 = conv(4 * w, 2 * w, 3)
        self.conv6 = conv(2 * w, w, 5, padding="valid")
        self.conv7 = conv(w, w, 5)
        self.conv8 = conv(w, here.bands, 5)

    def forward(self, image: Tensor) -> Tensor:
        """(B, bands, there.size, there.size) -> (B, bands, here.size, here.size)."""
        for layer in (self.conv1, self.conv2, self.conv3):
            size, image = image.shape[-1], pool(leaky(layer(image)))
        image = leaky(self.conv4(image))
        image = leaky(self.conv5(resize(image, size)))
        image = frame(resize(image, self.inner), self.edge)
        for layer in (self.conv6, self.conv7, self.conv8):
            image = leaky(layer(image))
        return image


class Growing(nn.Module):
    """(B, there.bands, there.size, there.size) -> (B, here.bands, here.size, here.size), onto finer pixels.

    64 to 136 pixels: encoded to 8, decoded to 64, mirror-padded to 68, doubled to 136. 1,425,093 parameters at full
    width with five bands.
    """

    def __init__(self, here: Grid, there: Grid, width: int) -> None:
        super().__init__()
        factor = _even_factor(here.size, there.size)
        self.size = here.size
        self.edge = _edge(there.size, here.size // factor, here.size % factor, here, there)
        w = width
        self.conv1 = conv(there.bands, w, 3)
        self.conv2 = conv(w, 2 * w, 3)
        self.conv3 = conv(2 * w, 2 * w, 3)
        self.conv4 = conv(2 * w, 4 * w, 3)
        self.conv5 = conv(4 * w, 2 * w, 3)
        self.conv6 = conv(2 * w, 2 * w, 3)
        self.conv7 = conv(2 * w, 2 * w, 3)
        self.conv8 = conv(2 * w, w, 5)
        self.conv9 = conv(w, w, 5)
        self.conv10 = conv(w, here.bands, 5)

    def forward(self, image: Tensor) -> Tensor:
        """(B, bands, there.size, there.size) -> (B, bands, here.size, here.size)."""
        sizes = []
        for layer in (self.conv1, self.conv2, self.conv3):
            sizes.append(image.shape[-1])
            image = pool(leaky(layer(image)))
        image = leaky(self.conv4(image))
        for layer in (self.conv5, self.conv6, self.conv7):
            image = leaky(layer(resize(image, sizes.pop())))
        image = resize(frame(image, self.edge), self.size)
        for layer in (self.conv8, self.conv9, self.conv10):
            image = leaky(layer(image))
        return image


def _even_factor(large: int, small: int) -> int:
    """The even number nearest to the ratio of two sizes."""
    return max(2, 2 * round(large / small / 2))


def _edge(have: int, want: int, left_over: int, here: Grid, there: Grid) -> int:
    """Pixels to add on each side (negative: to take away) for a map of `have` pixels to have `want`; ValueError."""
    why = None
    if min(have, want) < 8:
        why = "its maps would have fewer than 8 pixels a side"
    elif left_over:
        why = "the larger size does not divide by the factor between them; change it by a pixel or two"
    elif (want - have) % 2:
        why = "an odd number of pixels cannot be added or taken alike on both sides; change a size by two pixels"
    elif abs(want - have) > 2 * LARGEST_EDGE * have:
        why = (
            f"its maps of {have} pixels would have to be padded or cropped to {want}, more than an eighth on each "
            "side; sizes whose ratio is near an even number work, such as 64 and 136"
        )
    if why:
        raise ValueError(f"a generator from {there.size} to {here.size} pixels a side cannot be built: {why}")
    return (want - have) // 2
