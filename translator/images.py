"""Images that losses may ask for, made from one batch."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import Generator, Tensor, nn

from translator.networks.noise_emulator import NoEncoder, NoNoise


@dataclass(frozen=True)
class Share:
    """One of the equal shares of a batch that processes have which train together.

    Attributes
    ----------
    rank : int
        Number of the process, from 0.
    count : int
        Number of processes.
    """

    rank: int = 0
    count: int = 1

    def of(self, whole: Tensor | None) -> Tensor | None:
        """Return this process's rows of a tensor (B, …) that was drawn for all processes; numbers and None are kept."""
        if self.count == 1 or whole is None or whole.ndim == 0:
            return whole
        rows = len(whole) // self.count
        return whole[self.rank * rows : (self.rank + 1) * rows]


WHOLE = Share()


OTHER = {"x": "y", "y": "x"}
CARRIED = {"clean": "autoencoder", "translated": "generator"}  # images that turns share until their network moves
ENDS = frozenset({"cycled", "paired", "encoded_back", "encoded_pairs"})  # kinds that only one loss reads


@dataclass(frozen=True)
class Known:
    """The conditions of images, each (B, band), float32, NaN where the value is not known.

    Attributes
    ----------
    psf_fwhm : Tensor
        Full width at half maximum of a star's profile [arcsec].
    sky_sigma : Tensor
        Standard deviation of a pixel of blank sky [nanomaggy/pixel].
    gain : Tensor
        Number of electrons that one nanomaggy stands for.
    """

    psf_fwhm: Tensor
    sky_sigma: Tensor
    gain: Tensor

    def map(self, change: Callable[[Tensor], Tensor]) -> "Known":
        """Return the conditions with `change` applied to each tensor."""
        return Known(*(change(each) for each in (self.psf_fwhm, self.sky_sigma, self.gain)))


@dataclass(frozen=True)
class Batch:
    """The real images of one iteration, float32, on the networks' device.

    Pixels are flux [nanomaggy/pixel], or the form in which a recipe's networks read flux.

    Attributes
    ----------
    x, y : Tensor
        Unpaired images of each domain (B, band, row, col), on the domain's own grid.
    pair_x, pair_y : Tensor or None
        Images of objects that both surveys saw, in the same order; None if the recipe needs no pairs.
    known : dict
        Conditions of the images "x", "y", "pair_x" and "pair_y", by these names; empty if none are known.
    alignment : Tensor or None
        From places on the grids of `pair_x` to those on the grids of `pair_y` (B, 2, 3), in the form of
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
        """Whether the batch has pairs."""
        return self.pair_x is not None

    def map(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        """Return the batch with `change` applied to each image, such as from flux to stretched intensities."""
        images = (self.x, self.y, self.pair_x, self.pair_y)
        return Batch(*(None if each is None else change(each) for each in images), self.known, self.alignment)

    def first(self, count: int) -> "Batch":
        """Return the first `count` images of each kind, with their conditions."""
        images = (None if each is None else each[:count] for each in (self.x, self.y, self.pair_x, self.pair_y))
        known = {name: each.map(lambda values: values[:count]) for name, each in self.known.items()}
        return Batch(*images, known, None if self.alignment is None else self.alignment[:count])


class Images:
    """The images of one batch under the current networks, each made on first use and kept.

    A `domain` is "x" or "y" and names where an image lands: `translated("y")` is G_Y(x). Networks move, so every turn
    has new `Images`, with fresh noise. Images whose network has not moved are handed on to the next turn.

    Images have two modes:

    - *evaluating*, in which they begin: the graph of a loss leads through its images to all networks that have
      gradients. Which networks have them is the caller's choice.
    - *training*, which `train` enters for one turn: only the networks of that turn have gradients, and graphs end at
      the images. So the graph of one term is freed before the next term is computed, and an image that several terms
      read is differentiated once: `backward` passes the gradients that have gathered at the images on to the networks.

    Parameters
    ----------
    networks : ModuleDict
        The networks of the recipe, by role and domain ("generator_y").
    batch : Batch
        The real images.
    random : Generator
        The source of noise, on the networks' device.
    share : Share
        The share of the batch that this process has. Noise is drawn for the whole batch.
    """

    def __init__(self, networks: nn.ModuleDict, batch: Batch, random: Generator, share: Share = WHOLE) -> None:
        self.networks, self.batch, self.random, self.share = networks, batch, random, share
        self._made: dict[tuple[str, str], Tensor | None] = {}
        self._sources: dict[tuple[str, str], Tensor] = {}  # in training: the same images, with their graphs
        self._is_training, self._later = False, frozenset()

    def train(self, moves: Collection[str], later: Collection[str] = ()) -> None:
        """Enter the training mode for one turn.

        Parameters
        ----------
        moves : collection of str
            Networks that move in this turn. All others are frozen.
        later : collection of str
            Networks that do not move in this turn but in a later one of the iteration. Their images keep their graphs
            for that turn.
        """
        self._is_training, self._later = True, frozenset(later)
        for name, network in self.networks.items():
            network.requires_grad_(name in moves)
        for key in self._sources:
            self._made[key] = self._made[key].detach().requires_grad_(_maker(*key) not in self._later)

    def backward(self, *, whole: bool) -> None:
        """Pass gradients at the images on to the networks that made them, and forget images that only one loss reads.

        Parameters
        ----------
        whole : bool
            Whether all terms of the turn are done. Otherwise images that another term may read are left as they are.
        """
        for key in [key for key in reversed(self._sources) if whole or key[0] in ENDS]:
            gradient = self._made[key].grad
            if gradient is not None:
                self._sources[key].backward(gradient)
                del self._sources[key], self._made[key]

    def following(self, moved: Collection[str]) -> "Images":
        """Return the images of the next turn of an iteration, after the networks `moved` have moved."""
        after = Images(self.networks, self.batch, self.random, self.share)
        for key, made in self._made.items():
            kind, domain = key
            if self._can_carry(kind, domain) and _maker(kind, domain) not in moved:
                after._made[key] = made.detach()
                if key in self._sources:
                    after._sources[key] = self._sources[key]
        return after

    def real(self, domain: str) -> Tensor:
        """Return the unpaired images of the domain."""
        return getattr(self.batch, domain)

    def target(self, domain: str) -> Tensor:
        """Return the domain's images of the paired objects; ValueError if the batch has none."""
        if not self.batch.paired:
            raise ValueError("this loss needs pairs, and the batch has none")
        return getattr(self.batch, f"pair_{domain}")

    def clean(self, domain: str) -> Tensor:
        """Return the unpaired images without their noise, A(x)."""
        return self._make("clean", domain, "autoencoder", self.real(domain))

    def noise(self, domain: str) -> Tensor:
        """Return noise like that of the domain's survey, NE."""
        emulator = self.networks[f"emulator_{domain}"]
        return self._draw("noise", domain, emulator, len(self.real(domain)))

    def noisy(self, domain: str) -> Tensor:
        """Return the unpaired images with their noise replaced, A(x) + NE."""
        return self.clean(domain) + self.noise(domain)

    def translated(self, domain: str) -> Tensor:
        """Return the other domain's unpaired images as this survey would see them, without noise, G(x)."""
        return self._make("translated", domain, "generator", self.real(OTHER[domain]), self.latent(domain))

    def fake(self, domain: str) -> Tensor:
        """Return the translated images with noise, F(x) = G(x) + NE, which the second half of a cycle reads."""
        return self.translated(domain) + self.noise(domain)

    def cycled(self, domain: str) -> Tensor:
        """Return the unpaired images after the way there and back, G(F(x))."""
        return self._make("cycled", domain, "generator", self.fake(OTHER[domain]), self.encoded(domain))

    def paired(self, domain: str) -> Tensor:
        """Return the paired objects' images of the other domain as this survey would see them, without noise."""
        return self._make("paired", domain, "generator", self.target(OTHER[domain]), self.paired_latent(domain))

    def latent(self, domain: str) -> Tensor | None:
        """Return the codes (B, 32) drawn for `translated`; None, as all codes below, if the generator takes none."""
        encoder = self.networks[f"encoder_{domain}"]
        return self._draw("latent", domain, encoder.draw, len(self.real(OTHER[domain])))

    def paired_latent(self, domain: str) -> Tensor | None:
        """Return the codes drawn for `paired`."""
        encoder = self.networks[f"encoder_{domain}"]
        return self._draw("paired_latent", domain, encoder.draw, len(self.target(OTHER[domain])))

    def encoded(self, domain: str) -> Tensor | None:
        """Return the codes read from the unpaired images and their translations, E(x, F(x)), for `cycled`."""
        return self._make("encoded", domain, "encoder", self.real(domain), self.fake(OTHER[domain]))

    def encoded_back(self, domain: str) -> Tensor | None:
        """Return the codes read from the fakes that `latent` made and from their originals, E(F(x'), x')."""
        return self._make("encoded_back", domain, "encoder", self.fake(domain), self.real(OTHER[domain]))

    def encoded_pairs(self, domain: str) -> Tensor | None:
        """Return the codes read from the images of objects that both surveys saw."""
        return self._make("encoded_pairs", domain, "encoder", self.target(domain), self.target(OTHER[domain]))

    def judged(self, loss: Callable[[Tensor], Tensor], image: Tensor, domain: str) -> Tensor:
        """Return the mean of `loss`, a function of each logit, over the logits of the domain's discriminator.

        The logits of an image are (B, bands), or (B, 1, rows, cols) for patches.
        """
        return self.networks[f"discriminator_{domain}"].mean(loss, image)

    def score_latent(self, latent: Tensor, domain: str) -> Tensor:
        """Return the logits (B, 1) of the domain's latent discriminator for codes (B, 32)."""
        return self.networks[f"latent_discriminator_{domain}"](latent)

    def once(self, kind: str, domain: str, make: Callable):
        """Return the result of `make`, called on first use and kept for the turn."""
        if (kind, domain) not in self._made:
            self._made[kind, domain] = make()
        return self._made[kind, domain]

    def draw(self, function: Callable, *shape: int) -> Tensor:
        """Return random numbers (B, *shape) by `torch.randn` or `torch.rand`.

        The numbers of the whole batch are the same for any number of processes that train together.
        """
        count = len(self.batch.x) * self.share.count
        return self.share.of(function(count, *shape, generator=self.random, device=self.batch.x.device))

    def _draw(self, kind: str, domain: str, draw: Callable, count: int) -> Tensor | None:
        """Draw for the images of all processes, the same in each, and keep this process's share."""
        return self._keep(kind, domain, lambda: self.share.of(draw(count * self.share.count, self.random)))

    def _make(self, kind: str, domain: str, role: str, *inputs) -> Tensor | None:
        """Pass inputs through a network; an image that a later turn of the iteration differentiates keeps its graph."""
        network = self.networks[f"{role}_{domain}"]
        if not self._can_carry(kind, domain) or _maker(kind, domain) not in self._later:
            return self._keep(kind, domain, network, *inputs)
        with _with_gradients(network):
            return self._keep(kind, domain, network, *inputs).detach()

    def _keep(self, kind: str, domain: str, make: Callable, *inputs) -> Tensor | None:
        """Make an image unless it is kept already; in training, its graph is set aside."""
        if (kind, domain) not in self._made:
            made = make(*inputs)
            if self._is_training and made is not None and made.requires_grad:
                self._sources[kind, domain] = made
                made = made.detach().requires_grad_()
            self._made[kind, domain] = made
        return self._made[kind, domain]

    def _can_carry(self, kind: str, domain: str) -> bool:
        """Whether the next turn can read the image again, because nothing random is drawn for it."""
        return kind in CARRIED and self._made.get(("latent", domain)) is None


@contextmanager
def _with_gradients(network: nn.Module) -> Iterator[None]:
    """Give a frozen network gradients for one call."""
    network.requires_grad_(True)
    yield
    network.requires_grad_(False)


def _maker(kind: str, domain: str) -> str:
    """Return the name of the network that makes an image which turns share."""
    return f"{CARRIED[kind]}_{domain}"


def is_random(networks: nn.ModuleDict, domain: str) -> bool:
    """Return whether translations into `domain` differ from draw to draw, by an emulator or an encoder."""
    return not (
        isinstance(networks[f"emulator_{domain}"], NoNoise) and isinstance(networks[f"encoder_{domain}"], NoEncoder)
    )
