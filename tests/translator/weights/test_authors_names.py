import numpy as np
import pytest

from translator import RECIPES
from translator.networks.layers import Grid
from translator.weights.transfer import authors_shape, from_authors, scope, to_authors, variable_name

GOLDEN_NETWORKS = {  # where the golden file has another name than the network's scope
    "cyclegan_id_ps": {"generator_x": "generator01_ps", "generator_y": "generator10_ps"},
    "cyclegan_resnet6": {
        "generator_x": "cg_generator01",
        "generator_y": "cg_generator10",
        "discriminator_x": "cg_discriminator1",
        "discriminator_y": "cg_discriminator0",
    },
    "augmented_cyclegan": {
        "generator_x": "cg_generator01_cond",
        "generator_y": "cg_generator10_cond",
        "encoder_x": "cg_latent1",
        "encoder_y": "cg_latent0",
        "discriminator_x": "cg_discriminator1",
        "discriminator_y": "cg_discriminator0",
        "latent_discriminator_x": "cg_discriminator_latent1",
        "latent_discriminator_y": "cg_discriminator_latent0",
    },
}
GOLDEN_NETWORKS["augmented_cyclegan_repaired"] = GOLDEN_NETWORKS["augmented_cyclegan"]


@pytest.mark.parametrize(
    ("network", "parameter", "expected"),
    [
        ("generator_x", "layers.0.weight", "generator01/conv1/weights"),
        ("generator_y", "layers.9.bias", "generator10/conv10/biases"),
        ("autoencoder_y", "layers.8.weight", "auto0/conv9/weights"),
        ("emulator_x", "kernel", "noise1/kernel"),
        ("emulator_y", "amplitudes.4.fc3.bias", "noise0/fc34/biases"),
        ("discriminator_x", "bands.2.fft_conv1.weight", "discriminator1/fft_conv12/weights"),
        ("discriminator_y", "bands.0.attention_conv2.bias", "discriminator0/attention_conv20/biases"),
        ("discriminator_y", "layers.4.weight", "discriminator0/conv5/weights"),
        ("generator_x", "layers.conv_res_i1_1.weight", "generator01/conv_res_i1_1/weights"),
        ("generator_y", "norms.up1.up1_mean.weight", "generator10/up1_mean/weights"),
        ("encoder_y", "layers.5.bias", "generator_latent0/conv6/biases"),
        ("latent_discriminator_x", "fc4.weight", "discriminator_latent1/fc4/weights"),
    ],
)
def test_their_name_of_a_parameter(network, parameter, expected):
    assert variable_name(network, parameter) == expected


@pytest.mark.parametrize("network", ["critic_x", "generator_z", "generator", ""])
def test_a_network_that_they_do_not_have(network):
    with pytest.raises(ValueError, match=r"the authors have no network .* known are autoencoder, "):
        scope(network)


def test_layouts():
    kernel = np.arange(2 * 3 * 5 * 7).reshape(2, 3, 5, 7)  # (out, in, row, col)
    assert to_authors("layers.0.weight", kernel)[4, 6, 2, 1] == kernel[1, 2, 4, 6]
    matrix = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(to_authors("fc1.weight", matrix), matrix.T)
    noise = np.arange(2 * 7 * 7).reshape(2, 7, 7)  # (band, row, col)
    assert to_authors("kernel", noise)[0, 3, 5, 1] == noise[1, 3, 5]


@pytest.mark.parametrize(
    ("parameter", "shape"),
    [("layers.0.weight", (2, 3, 5, 7)), ("fc1.weight", (2, 3)), ("fc1.bias", (4,)), ("kernel", (2, 7, 7))],
)
def test_there_and_back_is_the_same(parameter, shape):
    weights = np.random.default_rng(0).normal(size=shape)
    theirs = to_authors(parameter, weights)
    assert theirs.shape == authors_shape(parameter, shape)
    back = from_authors(parameter, theirs)
    assert back.flags.c_contiguous
    np.testing.assert_array_equal(back, weights)


PAPERS = [name for name, recipe in RECIPES.items() if not recipe.use.reads_any]  # whose networks the authors have


@pytest.mark.parametrize("name", PAPERS)
def test_no_two_parameters_have_one_name(name):
    grids = {"x": Grid(5, 64), "y": Grid(5, 64 if RECIPES[name].same_grid else 136)}
    names = [
        variable_name(network, parameter)
        for network, module in RECIPES[name].build(grids).items()
        for parameter in module.state_dict()
    ]
    assert len(names) == len(set(names)) > 0


@pytest.mark.parametrize("name", sorted({*PAPERS} - {"demo"}))
def test_names_and_shapes_are_those_of_the_authors_variables(golden, name):
    listed = np.load(golden.GOLDEN)
    grids = {"x": Grid(5, 64), "y": Grid(5, 64 if RECIPES[name].same_grid else 136)}
    for network, module in RECIPES[name].build(grids).items():
        found = {
            f"{variable_name(network, parameter)}|{'x'.join(map(str, authors_shape(parameter, tuple(weights.shape))))}"
            for parameter, weights in module.state_dict().items()
        }
        if found:
            key = GOLDEN_NETWORKS.get(name, {}).get(network, scope(network))
            assert found == set(listed[f"network/{key}/variables"].tolist())
