"""The generators: from the other domain's image to the noise-free image that this domain's survey would see.

The sizes of the grids decide which of the two layouts serves. Both change the size by an even factor, by enlarging
feature maps; the rest of the way to the exact size is padding or cropping by the same number of pixels on all sides.
"""

import math

from torch import Tensor, nn

from translator.networks.layers import (
    NEAREST,
    WIDTH,
    Enlargement,
    Grid,
    chain,
    conv,
    decode,
    encode,
    frame,
    leaky,
    precise,
)

HALVINGS = 3  # how often the paper's generators halve an image
EDGE_LIMIT = 1 / 8  # of the map's size; a larger pad or crop on each side would invent or lose too much sky


def generator(
    here: Grid, there: Grid, width: int = WIDTH, halvings: int = HALVINGS, enlargement: Enlargement = NEAREST
) -> nn.Module:
    """Return the generator whose images land on `here`, given images on `there`.

    Parameters
    ----------
    here : Grid
        Grid of the images that it makes.
    there : Grid
        Grid of the images that it reads.
    width : int
        Channels of the first layer.
    halvings : int
        How often it halves an image to encode it, 1 to 3; the paper's three need long training.
    enlargement : Enlargement
        How maps grow. After a pixel shuffle, convolutions read fewer channels.

    Raises
    ------
    ValueError
        If no even factor, with the same padding or cropping on all sides, leads from one size to the other.
    """
    layout = Growing if here.size > there.size else Shrinking
    return layout(here, there, width, halvings, enlargement)


class Shrinking(nn.Module):
    """Images (B, there.bands, there.size, there.size) to (B, here.bands, here.size, here.size), onto coarser pixels.

    From 136 to 64 pixels: encoded to 17, decoded to 68, cropped to 64 by a 5x5 convolution without padding. 1,019,269
    parameters at full width with five bands (644,485 with a pixel shuffle).
    """

    def __init__(self, here: Grid, there: Grid, width: int, halvings: int, enlargement: Enlargement) -> None:
        super().__init__()
        factor = _even_factor(there.size, here.size)
        self.inner, self.enlargement = there.size // factor, enlargement
        self.edge = _edge(self.inner, here.size + 4, there.size % factor, here, there)
        w, decoding = width, max(0, halvings - 2)
        down, up = [w, w, 2 * w][:halvings], [4 * w, *[2 * w] * decoding]
        growth = self.inner / math.ceil(there.size / 2 ** (halvings - decoding))
        if growth < 1 and enlargement is not NEAREST:
            raise ValueError(f"a generator from {there.size} to {here.size} pixels a side would shuffle a map smaller")
        inside = enlargement.channels(up[-1], max(1, math.ceil(growth)))
        self.layers = nn.ModuleList(
            [
                *chain([there.bands, *down, 4 * w], 3),
                *chain(up, 3, enlargement),
                conv(inside, w, 5, padding=0),
                *chain([w, w, here.bands], 5),
            ]
        )
        self.stages = halvings + 1, halvings + 1 + decoding

    def forward(self, image: Tensor, latent: None = None) -> Tensor:
        """Return images (B, here.bands, here.size, here.size); `latent` is not read."""
        image, sizes = encode(image, self.layers[: self.stages[0]])
        image = decode(image, self.layers[self.stages[0] : self.stages[1]], sizes, self.enlargement)
        first, *inner, last = self.layers[self.stages[1] :]
        if self.edge:
            image = leaky(first(frame(self.enlargement.enlarge(image, self.inner), self.edge)))
        else:
            image = leaky(self.enlargement.read(first, image, self.inner))
        for layer in inner:
            image = leaky(layer(image))
        return leaky(precise(last, image))


class Growing(nn.Module):
    """Images (B, there.bands, there.size, there.size) to (B, here.bands, here.size, here.size), onto finer pixels.

    From 64 to 136 pixels: encoded to 8, decoded to 64, mirror-padded to 68, doubled to 136. 1,425,093 parameters at
    full width with five bands (829,125 with a pixel shuffle).
    """

    def __init__(self, here: Grid, there: Grid, width: int, halvings: int, enlargement: Enlargement) -> None:
        super().__init__()
        factor = _even_factor(here.size, there.size)
        self.size, self.enlargement = here.size, enlargement
        self.edge = _edge(there.size, here.size // factor, here.size % factor, here, there)
        w = width
        down, up = [w, 2 * w, 2 * w][:halvings], [2 * w] * halvings
        self.layers = nn.ModuleList(
            [
                *chain([there.bands, *down, 4 * w], 3),
                *chain([4 * w, *up], 3, enlargement),
                *chain([enlargement.channels(2 * w, factor), w, w, here.bands], 5),
            ]
        )
        self.stages = halvings + 1, 2 * halvings + 1

    def forward(self, image: Tensor, latent: None = None) -> Tensor:
        """Return images (B, here.bands, here.size, here.size); `latent` is not read."""
        image, sizes = encode(image, self.layers[: self.stages[0]])
        image = decode(image, self.layers[self.stages[0] : self.stages[1]], sizes, self.enlargement)
        first, *inner, last = self.layers[self.stages[1] :]
        image = leaky(self.enlargement.read(first, frame(image, self.edge), self.size))
        for layer in inner:
            image = leaky(layer(image))
        return leaky(precise(last, image))


def _even_factor(large: int, small: int) -> int:
    """Return the even number nearest to the ratio of two sizes."""
    return max(2, 2 * round(large / small / 2))


def _edge(have: int, want: int, left_over: int, here: Grid, there: Grid) -> int:
    """Return how many pixels to add on each side (negative: to cut off) so that a map of `have` pixels has `want`.

    ValueError, with the reason, if that is not possible.
    """
    why = None
    if min(have, want) < 8:
        why = "its maps would have fewer than 8 pixels a side"
    elif left_over:
        why = "the larger size does not divide by the factor between them; change it by a pixel or two"
    elif (want - have) % 2:
        why = "an odd number of pixels cannot be added or taken alike on both sides; change a size by two pixels"
    elif abs(want - have) >= 2 * EDGE_LIMIT * have:
        why = (
            f"its maps of {have} pixels would have to be padded or cropped to {want}, an eighth or more on each "
            "side; sizes whose ratio is near an even number work, such as 64 and 136"
        )
    if why:
        raise ValueError(f"a generator from {there.size} to {here.size} pixels a side cannot be built: {why}")
    return (want - have) // 2
