"""Seconds that an iteration of either step of the paper's model takes on this CPU, and the memory of the process.

Full width, batches of 24, random images; each step in a process of its own. A convolution of PyTorch's own is timed
before and after every iteration, and seconds are given for a machine on which it does 155 GFLOP/s, as where the
authors' graph was timed under TensorFlow 2.21: 35.0 s and 6.2 GB of step one, 20.2 s and 3.8 GB of step two. Those
figures are quoted, not measured here.
"""

import multiprocessing
import os
import resource
import statistics
import time
from dataclasses import dataclass, replace

from figures import Figure, main

RATE = 155.0  # GFLOP/s of the convolutions that the targets are for
TARGETS = {1: (30, "35.0 s, 6.2 GB"), 2: (20, "20.2 s, 3.8 GB")}  # by step: seconds, and the authors' graph
MEMORY = 3.0  # GB of a process, at most
SIZES = {"x": 64, "y": 136}  # pixels a side
SMALL = {"x": 16, "y": 36}  # for a trial
CONVOLUTION = (24, 64, 64, 68)  # images, channels in and out, pixels a side: of 3x3, in PyTorch's usual memory order


@dataclass(frozen=True)
class Run:
    """What a process has measured of one step.

    Attributes:
        seconds: Of an iteration, the median of those after the first.
        gflop: Of an iteration, all convolutions and matrix products, backward too.
        rate: GFLOP/s of plain convolutions, forward and backward, the median.
        memory: Most that the process has had at a time [GB].
    """

    seconds: float
    gflop: float
    rate: float
    memory: float


def measure(quick: bool) -> list[Figure]:
    """Both steps of the paper's model beside plain convolutions of as many operations."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as `galtrans` sets it
    figures = []
    for number in TARGETS:
        if quick:
            figures += rows(number, run(number, quick), quick)
            continue
        with multiprocessing.get_context("spawn").Pool(1) as process:  # whose memory is that of one step
            figures += rows(number, process.apply(run, (number, quick)), quick)
    return figures


def rows(number: int, run: Run, quick: bool) -> list[Figure]:
    """What the table says of a step: its seconds, and its memory."""
    seconds, authors = TARGETS[number]
    size = "a trial on small images" if quick else "full width, batches of 24"
    plain = run.gflop / run.rate
    return [
        Figure(
            stage="train",
            what=f"step {number}, {size}: {run.gflop:,.0f} GFLOP in {run.seconds:.3g} s here",
            rate=run.seconds * run.rate / RATE,
            unit=f"s/iteration at {RATE:.0f} GFLOP/s",
            against="plain convolutions of as many operations",
            plain=plain * run.rate / RATE,
            ratio=run.seconds / plain,
            target="" if quick else f"<= {seconds} s",
            limit=f"plain convolutions do {run.rate:.0f} GFLOP/s here; authors' graph as given: {authors}",
            bound="convolutions; of step one also the discriminators' first layers, of one and two channels",
            of_rate=True,
        ),
        Figure(
            stage="train",
            what=f"step {number}, {size}: memory of the process, PyTorch included",
            rate=run.memory,
            unit="GB",
            target="" if quick else f"<= {MEMORY:.0f} GB",
            bound="maps of one generator or of one band's discriminator, which the backward pass needs",
            of_rate=True,
        ),
    ]


def run(number: int, quick: bool) -> Run:
    """Time a step in this process."""
    import torch
    from flops import counted

    from translator import RECIPES
    from translator.networks.layers import Grid
    from translator.runs.device import keep_memory
    from translator.training.update import Model, iterate

    keep_memory()
    torch.manual_seed(0)
    sizes = SMALL if quick else SIZES
    recipe = replace(RECIPES["two_step"], width=8) if quick else RECIPES["two_step"]
    step, batch_size = recipe.steps[number - 1], 2 if quick else recipe.batch_size
    networks = recipe.build({domain: Grid(5, size) for domain, size in sizes.items()})
    optimizers = [torch.optim.Adam([p for name in t.moves for p in networks[name].parameters()]) for t in step.turns]
    model, rates, seconds = Model(networks, torch.Generator().manual_seed(1)), [convolution_rate(quick)], []
    one = counted(lambda: iterate(model, step, 0, optimizers, batch(1, sizes)))
    images = batch(batch_size, sizes)
    for index in range(2 if quick else 3):
        start = time.perf_counter()
        iterate(model, step, index, optimizers, images)
        seconds.append(time.perf_counter() - start)
        rates.append(convolution_rate(quick))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return Run(statistics.median(seconds[1:]), one * batch_size / 1e9, statistics.median(rates), memory)


def batch(count: int, sizes: dict[str, int]):
    """Random images, in the memory order that the loader gives."""
    import torch

    from translator.images import Batch

    shapes = [(count, 5, sizes[domain], sizes[domain]) for domain in "xyxy"]
    return Batch(*(torch.randn(shape).mul(0.1).contiguous(memory_format=torch.channels_last) for shape in shapes))


def convolution_rate(quick: bool) -> float:
    """GFLOP/s of one convolution of PyTorch's, forward and backward: the best of three."""
    import torch

    count, inside, outside, size = (1, *CONVOLUTION[1:]) if quick else CONVOLUTION
    image = torch.randn(count, inside, size, size, requires_grad=True)
    kernel = torch.randn(outside, inside, 3, 3, requires_grad=True)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        made = torch.nn.functional.conv2d(image, kernel, padding=1)
        torch.autograd.grad(made, [image, kernel], made)
        seconds.append(time.perf_counter() - start)
    return 3 * 2 * 9 * count * inside * outside * size**2 / min(seconds) / 1e9


if __name__ == "__main__":
    main(measure)
