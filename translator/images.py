"""Images that losses may ask for, made from one batch."""

from dataclasses import dataclass

from torch import Generator, Tensor, nn

OTHER = {"x": "y", "y": "x"}


@dataclass(frozen=True)
class Batch:
    """Real images of one iteration, stretched, float32, on the networks' device.

    Attributes:
        x: Unpaired images of domain x (B, bands, row, col).
        y: Unpaired images of domain y, alike, on y's grid.
        pair_x: Images of domain x of objects that both surveys saw.
        pair_y: The same objects, in the same order, in domain y.
    """

    x: Tensor
    y: Tensor
    pair_x: Tensor
    pair_y: Tensor


class Images:
    """Images of one batch under the current networks, each made on first use and kept.

    A `domain` is "x" or "y" and names where an image lands: `translated("y")` is G_Y(x). Networks move, so a new
    `Images` is made for every turn, with fresh noise.

    Args:
        networks: The networks of the recipe, keyed by role and domain ("generator_y").
        batch: The real images.
        random: Where noise is drawn from; on the networks' device.
    """

    def __init__(self, networks: nn.ModuleDict, batch: Batch, random: Generator) -> None:
        self.networks, self.batch, self.random = networks, batch, random
        self._made: dict[tuple[str, str], Tensor] = {}

    def real(self, domain: str) -> Tensor:
        """Unpaired images of the domain."""
        return getattr(self.batch, domain)

    def target(self, domain: str) -> Tensor:
        """The domain's images of the paired objects."""
        return getattr(self.batch, f"pair_{domain}")

    def clean(self, domain: str) -> Tensor:
        """The unpaired images without their noise, A(x)."""
        return self._make("clean", domain, "autoencoder", self.real(domain))

    def noise(self, domain: str) -> Tensor:
        """Noise as the domain's survey has it, NE."""
        return self._make("noise", domain, "emulator", len(self.real(domain)), self.random)

    def noisy(self, domain: str) -> Tensor:
        """The unpaired images with their noise replaced, A(x) + NE."""
        return self.clean(domain) + self.noise(domain)

    def translated(self, domain: str) -> Tensor:
        """The other domain's unpaired images as this one would see them, without noise, G(x)."""
        return self._make("translated", domain, "generator", self.real(OTHER[domain]))

    def fake(self, domain: str) -> Tensor:
        """The same with noise, F(x) = G(x) + NE: what the second half of a cycle reads."""
        return self.translated(domain) + self.noise(domain)

    def cycled(self, domain: str) -> Tensor:
        """The unpaired images after the way there and back, G(F(x))."""
        return self._make("cycled", domain, "generator", self.fake(OTHER[domain]))

    def paired(self, domain: str) -> Tensor:
        """The paired objects' images of the other domain as this one would see them, without noise."""
        return self._make("paired", domain, "generator", self.target(OTHER[domain]))

    def score(self, image: Tensor, domain: str) -> Tensor:
        """The domain's discriminator's logits (B, bands) of an image."""
        return self.networks[f"discriminator_{domain}"](image)

    def _make(self, kind: str, domain: str, role: str, *inputs) -> Tensor:
        if (kind, domain) not in self._made:
            self._made[kind, domain] = self.networks[f"{role}_{domain}"](*inputs)
        return self._made[kind, domain]
