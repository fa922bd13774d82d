"""The golden values of the authors' model: weights and inputs by the rules of their page, loaded into our networks."""

import zlib
from pathlib import Path

import numpy as np
import torch

from translator import RECIPES
from translator.images import Batch, Images
from translator.networks.layers import LATENT, Grid
from translator.weights.transfer import authors_shape, from_authors, variable_name

GOLDEN = Path(__file__).parents[2].parent / "shared" / "golden" / "golden.npz"
BANDS = 5
OFFSETS = {"y": 0, "x": 10, "pair_x": 20, "pair_y": 30}  # of the seeds of images
LATENTS = [("latent", "y"), ("latent", "x"), ("paired_latent", "x"), ("paired_latent", "y")]  # latent0 to latent3
METHODS = {  # the authors' number: our row, its step, and their names of the optimisers of its turns
    1: ("two_step", 0, ("G_sm", "D", "G_noise")),
    2: ("two_step", 1, ("G_sm",)),
    3: ("pix2pix", 0, ("D", "G_combine")),
    4: ("cyclegan", 0, ("D", "G_combine")),
    5: ("cyclegan_pid", 0, ("D", "G_combine")),
    6: ("cyclegan_id", 0, ("D", "G_combine")),
    7: ("cyclegan_id_ps", 0, ("D", "G_combine")),
    8: ("no_autoencoder", 0, ("G_sm", "D", "G_noise")),
    9: ("cyclegan_resnet6", 0, ("D", "G_combine")),
    10: ("augmented_cyclegan", 0, ("D", "G_combine")),
}


def sizes(recipe):
    return {"x": 64, "y": 64 if recipe.same_grid else 136}


def networks(recipe, dtype=torch.float64):
    """The recipe's networks with the golden weights."""
    built = build(recipe)
    for name, network in built.items():
        load(name, network, dtype)
    return built


def load(name, network, dtype=torch.float64):
    """Give one network the golden weights; returns it."""
    for parameter, tensor in network.named_parameters():
        value = authors_value(variable_name(name, parameter), authors_shape(parameter, tuple(tensor.shape)))
        tensor.data = torch.from_numpy(from_authors(parameter, value))
    return network.to(dtype)


def build(recipe):
    """The recipe's networks before training."""
    return recipe.build({domain: Grid(BANDS, size) for domain, size in sizes(recipe).items()})


def authors_value(name, shape):
    value = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)
    value = value * 0.05 if name.endswith("biases") else value / np.sqrt(np.prod(shape[:-1]))
    return value.astype(np.float32).astype(np.float64)


def variables(name, network):
    """The authors' names and shapes of all parameters, as the golden file lists them."""
    shapes = {
        variable_name(name, parameter): authors_shape(parameter, tuple(tensor.shape))
        for parameter, tensor in network.named_parameters()
    }
    return {f"{key}|{'x'.join(map(str, shape))}" for key, shape in shapes.items()}


def drawn(offset, shape):
    """Normal numbers of the seed 1 + offset, as float32 holds them."""
    return torch.from_numpy(np.random.default_rng(1 + offset).standard_normal(shape).astype(np.float32)).double()


def image(name, size):
    """Images (2, bands, row, col) by the rule of "x", "y", "pair_x" or "pair_y"."""
    return 0.5 * drawn(OFFSETS[name], (2, size, size, BANDS)).permute(0, 3, 1, 2).contiguous()


def latent(number):
    return drawn(40 + 10 * number, (2, LATENT))


def noise_seeds(domain, size):
    """The noise emulator's numbers: for amplitudes (2, bands), and white maps (2, bands, size + 6, size + 6)."""
    number = {"y": 0, "x": 1}[domain]
    white = drawn(100 + 10 * number, (2, size + 6, size + 6, BANDS)).permute(0, 3, 1, 2).contiguous()
    return drawn(80 + 10 * number, (2, BANDS)), white


def fixed_images(recipe, built, dtype=torch.float64):
    """A function that gives new `Images` of the golden batch, with the same noise seeds and codes every time."""
    batch = Batch(*(image(name, sizes(recipe)[name[-1]]).to(dtype) for name in ("x", "y", "pair_x", "pair_y")))
    for domain, size in sizes(recipe).items():
        if any(True for _ in built[f"emulator_{domain}"].parameters()):
            seeds = tuple(seed.to(dtype) for seed in noise_seeds(domain, size))
            built[f"emulator_{domain}"].seeds = lambda count, random, seeds=seeds: seeds

    def images():
        made = Images(built, batch, None)
        if any(True for _ in built["encoder_x"].parameters()):
            made._made |= {key: latent(number).to(dtype) for number, key in enumerate(LATENTS)}
        return made

    return images


def authors_terms(term):
    """Which of their terms one of ours is the sum of, such as "cycle_x"."""
    kind, domain = term.rsplit("_", 1)
    number, latents = {"y": (0, (0, 3)), "x": (1, (1, 2))}[domain]
    return {
        "reconstruction": [f"auto{number}"],
        "noise_discrimination": [f"D_real{number}", f"D_gen{number}"],
        "noise_adversarial": [f"G_gen{number}"],
        "discrimination": [f"D_real{number}", f"D_gen{number}"],
        "adversarial": [f"G_gen{number}"],
        "cycle": [f"cyc{number}"],
        "identity": [{"x": "id2", "y": "id3"}[domain]],
        "pseudo_identity": [f"pid{number}"],
        "latent_cycle": [f"cyc_latent{number}"],
        "latent_discrimination": [f"D_{kind}_latent{i}" for kind in ("real", "gen") for i in latents],
        "latent_adversarial": [f"G_gen_latent{i}" for i in latents],
    }[kind]


def logits(method, made):
    """Scores of our discriminators under the authors' names."""
    fake = made.noisy if method == 1 else made.fake
    scores = {}
    for domain, number in (("y", 0), ("x", 1)):
        scores[f"D_real{number}"] = made.networks[f"discriminator_{domain}"](made.real(domain))
        scores[f"D_gen{number}"] = made.networks[f"discriminator_{domain}"](fake(domain))
    return scores


def latent_outputs(made):
    """Our codes, and the scores of our latent discriminators, under the authors' names."""
    read = [made.encoded("y"), made.encoded("x"), made.encoded_pairs("x"), made.encoded_pairs("y")]
    outputs = {f"latent{i}_recon": code for i, code in enumerate(read)}
    for i, (kind, domain) in enumerate(LATENTS):
        outputs[f"D_real_latent{i}"] = made.score_latent(getattr(made, kind)(domain), domain)
        outputs[f"D_gen_latent{i}"] = made.score_latent(read[i], domain)
    return outputs


def as_ours(output):
    return np.moveaxis(output, -1, 1) if output.ndim == 4 else output


def begin(method, dtype=torch.float64):
    """A method's step, networks, a function that gives the images of the golden batch, and names of its optimisers."""
    row, number, groups = METHODS[method]
    built = networks(RECIPES[row], dtype)
    return RECIPES[row].steps[number], built, fixed_images(RECIPES[row], built, dtype), groups


def losses(method, iteration, precision=""):
    """The authors' loss terms after so many iterations, by their names."""
    values = np.load(GOLDEN)
    names = [str(name).removeprefix("loss_") for name in values[f"method/{method}/loss_names"]]
    return dict(zip(names, values[f"method/{method}/losses{precision}"][iteration], strict=True))
