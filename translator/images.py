"""Images that losses may ask for, made from one batch."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from torch import Generator, Tensor, nn

from translator.networks.noise_emulator import NoEncoder, NoNoise


@dataclass(frozen=True)
class Share:
    """One of `count` equal shares.

    Attributes:
        rank: Number of the process, from 0.
        count: Of processes.
    """

    rank: int = 0
    count: int = 1

    def of(self, whole: Tensor | None) -> Tensor | None:
        """Its rows of what was drawn for all processes alike, (B, …); a number, or nothing, is everybody's."""
        if self.count == 1 or whole is None or whole.ndim == 0:
            return whole
        rows = len(whole) // self.count
        return whole[self.rank * rows : (self.rank + 1) * rows]


WHOLE = Share()


OTHER = {"x": "y", "y": "x"}
CARRIED = {"clean": "autoencoder", "translated": "generator"}  # images that turns share until their maker moves
ENDS = frozenset({"cycled", "paired", "encoded_back", "encoded_pairs"})  # kinds that one loss alone reads


@dataclass(frozen=True)
class Known:
    """What is known of images besides their pixels, each (B, band), float32, NaN where it is not known.

    Attributes:
        psf_fwhm: Full width at half maximum of a star's profile [arcsec].
        sky_sigma: Standard deviation of a pixel of blank sky [nanomaggy/pixel].
        gain: Electrons behind a nanomaggy.
    """

    psf_fwhm: Tensor
    sky_sigma: Tensor
    gain: Tensor

    def map(self, change: Callable[[Tensor], Tensor]) -> "Known":
        """The same with each tensor changed."""
        return Known(*(change(each) for each in (self.psf_fwhm, self.sky_sigma, self.gain)))


@dataclass(frozen=True)
class Batch:
    """Real images of one iteration, float32, on the networks' device: flux, or what a recipe's networks read of it.

    Attributes:
        x: Unpaired images of domain x (B, bands, row, col).
        y: Unpaired images of domain y on y's grid, in the same form.
        pair_x: Images of domain x of objects that both surveys saw; None where the recipe needs none.
        pair_y: The same objects, in the same order, in domain y; None alike.
        known: What is known of the images of "x", "y", "pair_x" and "pair_y", by these names; empty where nothing is.
        alignment: From places on the grids of `pair_x` to those on the grids of `pair_y` (B, 2, 3), as of
            `networks.observation_operator`; None without pairs.
    """

    x: Tensor
    y: Tensor
    pair_x: Tensor | None = None
    pair_y: Tensor | None = None
    known: dict[str, Known] = field(default_factory=dict)
    alignment: Tensor | None = None

    @property
    def paired(self) -> bool:
        """Whether it has pairs."""
        return self.pair_x is not None

    def map(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        """The same with each image changed, such as from flux to stretched intensities."""
        images = (self.x, self.y, self.pair_x, self.pair_y)
        return Batch(*(None if each is None else change(each) for each in images), self.known, self.alignment)

    def first(self, count: int) -> "Batch":
        """The first `count` images of each kind, with what is known of them."""
        images = (None if each is None else each[:count] for each in (self.x, self.y, self.pair_x, self.pair_y))
        known = {name: each.map(lambda values: values[:count]) for name, each in self.known.items()}
        return Batch(*images, known, None if self.alignment is None else self.alignment[:count])


class Images:
    """Images of one batch under the current networks, each made on first use and kept.

    A `domain` is "x" or "y" and names where an image lands: `translated("y")` is G_Y(x). Networks move, so there are
    new `Images` for every turn, with fresh noise; images that nothing has moved are handed on to them.

    Usually a loss's graph leads through its images to the networks. After `cut`, it ends at the images, so that the
    graph of one term is gone before the next is made, and an image that several terms read is differentiated once:
    `backward` passes on what they have left at their images.

    Args:
        networks: The networks of the recipe, keyed by role and domain ("generator_y").
        batch: The real images.
        random: Where noise is drawn from; on the networks' device.
        share: Of the batch that all processes draw noise for, which `batch` has the images of.
    """

    def __init__(self, networks: nn.ModuleDict, batch: Batch, random: Generator, share: Share = WHOLE) -> None:
        self.networks, self.batch, self.random, self.share = networks, batch, random, share
        self._made: dict[tuple[str, str], Tensor | None] = {}
        self._sources: dict[tuple[str, str], Tensor] = {}  # of images that are cut: the same, with their graphs
        self._is_cut, self._later = False, frozenset()

    def cut(self, later: Collection[str] = ()) -> None:
        """From here on graphs end at images.

        Args:
            later: Networks that do not move in this turn but in a later one of the iteration, which will want the
                graphs of the images that it then reads again.
        """
        self._is_cut, self._later = True, frozenset(later)
        for key in self._sources:
            self._made[key] = self._made[key].detach().requires_grad_(_maker(*key) not in self._later)

    def backward(self, *, whole: bool) -> None:
        """Pass the gradients at cut images on to the networks that made them, and forget what one loss alone reads.

        Args:
            whole: Whether all terms are done; else images that another may read are left as they are.
        """
        for key in [key for key in reversed(self._sources) if whole or key[0] in ENDS]:
            gradient = self._made[key].grad
            if gradient is not None:
                self._sources[key].backward(gradient)
                del self._sources[key], self._made[key]

    def following(self, moved: Collection[str]) -> "Images":
        """Images for the next turn of an iteration, after these networks have moved."""
        after = Images(self.networks, self.batch, self.random, self.share)
        for key, made in self._made.items():
            kind, domain = key
            if self._can_carry(kind, domain) and _maker(kind, domain) not in moved:
                after._made[key] = made.detach()
                if key in self._sources:
                    after._sources[key] = self._sources[key]
        return after

    def real(self, domain: str) -> Tensor:
        """Unpaired images of the domain."""
        return getattr(self.batch, domain)

    def target(self, domain: str) -> Tensor:
        """The domain's images of the paired objects; ValueError where the batch has none."""
        if not self.batch.paired:
            raise ValueError("this loss needs pairs, and the batch has none")
        return getattr(self.batch, f"pair_{domain}")

    def clean(self, domain: str) -> Tensor:
        """The unpaired images without their noise, A(x)."""
        return self._make("clean", domain, "autoencoder", self.real(domain))

    def noise(self, domain: str) -> Tensor:
        """Noise as the domain's survey has it, NE."""
        emulator = self.networks[f"emulator_{domain}"]
        return self._draw("noise", domain, emulator, len(self.real(domain)))

    def noisy(self, domain: str) -> Tensor:
        """The unpaired images with their noise replaced, A(x) + NE."""
        return self.clean(domain) + self.noise(domain)

    def translated(self, domain: str) -> Tensor:
        """The other domain's unpaired images as this one would see them, without noise, G(x)."""
        return self._make("translated", domain, "generator", self.real(OTHER[domain]), self.latent(domain))

    def fake(self, domain: str) -> Tensor:
        """The same with noise, F(x) = G(x) + NE: what the second half of a cycle reads."""
        return self.translated(domain) + self.noise(domain)

    def cycled(self, domain: str) -> Tensor:
        """The unpaired images after the way there and back, G(F(x))."""
        return self._make("cycled", domain, "generator", self.fake(OTHER[domain]), self.encoded(domain))

    def paired(self, domain: str) -> Tensor:
        """The paired objects' images of the other domain as this one would see them, without noise."""
        return self._make("paired", domain, "generator", self.target(OTHER[domain]), self.paired_latent(domain))

    def latent(self, domain: str) -> Tensor | None:
        """The codes (B, 32) drawn for `translated`; None for a generator that takes none, as with all codes below."""
        encoder = self.networks[f"encoder_{domain}"]
        return self._draw("latent", domain, encoder.draw, len(self.real(OTHER[domain])))

    def paired_latent(self, domain: str) -> Tensor | None:
        """The codes drawn for `paired`."""
        encoder = self.networks[f"encoder_{domain}"]
        return self._draw("paired_latent", domain, encoder.draw, len(self.target(OTHER[domain])))

    def encoded(self, domain: str) -> Tensor | None:
        """The codes read from the unpaired images and their translations, E(x, F(x)): those of `cycled`."""
        return self._make("encoded", domain, "encoder", self.real(domain), self.fake(OTHER[domain]))

    def encoded_back(self, domain: str) -> Tensor | None:
        """The codes read from the fakes that `latent` made and what those were made from, E(F(x'), x')."""
        return self._make("encoded_back", domain, "encoder", self.fake(domain), self.real(OTHER[domain]))

    def encoded_pairs(self, domain: str) -> Tensor | None:
        """The codes read from the images of objects that both surveys saw."""
        return self._make("encoded_pairs", domain, "encoder", self.target(domain), self.target(OTHER[domain]))

    def judged(self, loss: Callable[[Tensor], Tensor], image: Tensor, domain: str) -> Tensor:
        """Mean of `loss`, a function of each logit, over what the domain's discriminator says of an image.

        Its logits are (B, bands), or (B, 1, rows, cols) of patches.
        """
        return self.networks[f"discriminator_{domain}"].mean(loss, image)

    def score_latent(self, latent: Tensor, domain: str) -> Tensor:
        """The domain's latent discriminator's logits (B, 1) of codes (B, 32)."""
        return self.networks[f"latent_discriminator_{domain}"](latent)

    def once(self, kind: str, domain: str, make: Callable):
        """What `make` gives, made on first use and kept for the turn."""
        if (kind, domain) not in self._made:
            self._made[kind, domain] = make()
        return self._made[kind, domain]

    def draw(self, function: Callable, *shape: int) -> Tensor:
        """Random numbers (B, *shape) by `torch.randn` or `torch.rand`, alike however many processes train together."""
        count = len(self.batch.x) * self.share.count
        return self.share.of(function(count, *shape, generator=self.random, device=self.batch.x.device))

    def _draw(self, kind: str, domain: str, draw: Callable, count: int) -> Tensor | None:
        """What all processes draw alike, for all their images; each keeps what is for its own."""
        return self._keep(kind, domain, lambda: self.share.of(draw(count * self.share.count, self.random)))

    def _make(self, kind: str, domain: str, role: str, *inputs) -> Tensor | None:
        network = self.networks[f"{role}_{domain}"]
        if not self._can_carry(kind, domain) or _maker(kind, domain) not in self._later:
            return self._keep(kind, domain, network, *inputs)
        network.requires_grad_(True)
        made = self._keep(kind, domain, network, *inputs)
        network.requires_grad_(False)
        return made.detach()

    def _keep(self, kind: str, domain: str, make: Callable, *inputs) -> Tensor | None:
        if (kind, domain) not in self._made:
            made = make(*inputs)
            if self._is_cut and made is not None and made.requires_grad:
                self._sources[kind, domain] = made
                made = made.detach().requires_grad_()
            self._made[kind, domain] = made
        return self._made[kind, domain]

    def _can_carry(self, kind: str, domain: str) -> bool:
        """Whether the next turn can read the image again: nothing is drawn for it."""
        return kind in CARRIED and self._made.get(("latent", domain)) is None


def _maker(kind: str, domain: str) -> str:
    """The network that makes an image that turns share."""
    return f"{CARRIED[kind]}_{domain}"


def is_random(networks: nn.ModuleDict, domain: str) -> bool:
    """Whether translations into `domain` differ from draw to draw: it has an emulator or an encoder."""
    return not (
        isinstance(networks[f"emulator_{domain}"], NoNoise) and isinstance(networks[f"encoder_{domain}"], NoEncoder)
    )
