"""Every recipe on the `meta` device, which computes shapes alone and refuses tensors that were left on the CPU."""

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

from translator import RECIPES
from translator.images import Images
from translator.networks.layers import Grid

STEPS = [(name, number) for name, recipe in RECIPES.items() for number in range(len(recipe.steps))]


def to_meta(batch):
    known = {name: each.map(lambda values: values.to("meta")) for name, each in batch.known.items()}
    return replace(batch.map(lambda image: image.to("meta")), known=known, alignment=batch.alignment.to("meta"))


@pytest.mark.parametrize(("name", "number"), STEPS)
def test_no_tensor_of_a_training_is_left_on_the_cpu(name, number, narrow, batch_for, monkeypatch):
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # which the device does not know
    recipe = narrow[name]
    batch = to_meta(batch_for(recipe))
    grids = {d: Grid(2, getattr(batch, d).shape[-1], (0.1, 0.1), {"x": 0.4, "y": 0.18}[d]) for d in "xy"}
    with torch.device("meta"):
        networks = recipe.build(grids)
    for turn in recipe.steps[number].turns:
        for role, network in networks.items():
            network.requires_grad_(role in turn.moves)
        images = Images(networks, batch, None)
        for term in turn.terms:
            loss = term.loss(images, term.domain)
            assert loss.device.type == "meta"
            if loss.requires_grad:
                loss.backward(retain_graph=True)
        moving = [role for role in turn.moves if any(True for _ in networks[role].parameters())]
        assert all(any(p.grad is not None for p in networks[role].parameters()) for role in moving)
