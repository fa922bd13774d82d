"""The autoencoder of step one: the smooth part of an image, without its noise."""

from torch import Tensor, nn

from translator.networks.layers import WIDTH, Grid, chain, decode, encode, leaky, precise


class Autoencoder(nn.Module):
    """Stretched images (B, bands, size, size) to their noise-free reconstructions of the same shape.

    Three poolings to an eighth of the size are followed by three resizes, each back to the size before, so any size of
    eight pixels or more works. The last layer is leaky as well. 2,162,501 parameters at full width with five bands.

    Parameters
    ----------
    here : Grid
        The domain's grid.
    there : Grid
        The other domain's grid; not used, but every network is built from both.
    width : int
        Channels of the first layer.

    Raises
    ------
    ValueError
        If an image has fewer than eight pixels a side.
    """

    def __init__(self, here: Grid, there: Grid, width: int = WIDTH) -> None:
        super().__init__()
        if here.size < 8:
            raise ValueError(f"the autoencoder halves an image three times, and {here.size} pixels a side are too few")
        w = width
        self.layers = nn.ModuleList(
            [*chain([here.bands, w, 2 * w, 4 * w, 4 * w, 4 * w, 2 * w], 3), *chain([2 * w, w, w, here.bands], 5)]
        )

    def forward(self, image: Tensor) -> Tensor:
        """Return reconstructions (B, bands, size, size) of images of the same shape."""
        image, sizes = encode(image, self.layers[:4])
        image = decode(image, self.layers[4:7], sizes)
        for layer in self.layers[7:-1]:
            image = leaky(layer(image))
        return leaky(precise(self.layers[-1], image))
