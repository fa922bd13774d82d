"""Everything that only a GPU can tell of the training, in calls of under ten minutes each.

    for part in correctness steps profile; do python benchmarks/gpu.py --part $part --out gpu; done
    galtrans simulate --benchmark twin-v1 --out sky
    for part in data train; do python benchmarks/gpu.py --part $part --sky sky --out gpu; done
    python benchmarks/gpu.py --part summary --out gpu

Each part writes OUT/PART.json, and `summary` makes OUT/summary.md and OUT/summary.json of what is there. The first
three need PyTorch and galtrans's own files and nothing else. `--device cpu --quick` shows on any machine that a part
runs.

correctness: losses and gradients of an iteration against those of the CPU in float32, and of each precision against
float32. steps: seconds, memory and GFLOP/s of an iteration, plain, compiled, and compiled with CUDA graphs, beside the
rate of products and convolutions alone. profile: what the GPU's time goes to, kernel by kernel. data: how long the
training waits for images, on the device or streamed. train: iterations of each step on the simulated sky.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from flops import counted
from gpu_summary import summarise
from gpu_training import measure_data, measure_training

from translator import RECIPES, Step
from translator.images import Batch
from translator.networks.layers import Grid
from translator.networks.noise_emulator import NoiseEmulator
from translator.runs.device import PRECISIONS, choose_device, computing
from translator.training.update import Model, iterate

SIZES = {False: {"x": 64, "y": 136}, True: {"x": 16, "y": 36}}  # pixels a side, of images of full size or for a trial
PARTS = ("correctness", "steps", "profile", "data", "train", "summary")
WAYS = ("plain", "compiled", "compiled, CUDA graphs")  # to pass networks
NOISE_SEED = 1


@dataclass(frozen=True)
class Bench:
    """What all parts are told.

    Attributes:
        device: Where to measure.
        quick: Whether to go through everything with narrow networks, and measure nothing.
        sky: Folder of a benchmark sky, or None.
        out: Folder of the results.
    """

    device: torch.device
    quick: bool
    sky: Path | None
    out: Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument(
        "--sky", type=Path, help="folder of `galtrans simulate --benchmark twin-v1`, for data and train"
    )
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.part in ("data", "train") and not arguments.sky:
        parser.error(f"--part {arguments.part} wants --sky")
    bench = Bench(choose_device(arguments.device), arguments.quick, arguments.sky, arguments.out)
    bench.out.mkdir(parents=True, exist_ok=True)
    if arguments.part == "summary":
        summarise(bench.out)
        return
    parts = {"correctness": correctness, "steps": steps, "profile": profile}
    parts |= {"data": measure_data, "train": measure_training}
    begun = time.perf_counter()
    found = {"device": name_of(bench.device), "quick": bench.quick, "torch": torch.__version__}
    found["rows"] = parts[arguments.part](bench)
    found["seconds"] = time.perf_counter() - begun
    (bench.out / f"{arguments.part}.json").write_text(json.dumps(found, indent=2) + "\n")
    for row in found["rows"]:
        print(row)


def correctness(bench: Bench) -> list[dict]:
    """Largest relative difference of a loss, and of the gradient of a network, in one iteration of each step."""
    rows = []
    for number in (1, 2):
        count = 2 if bench.quick else 4
        reference = one_iteration(bench, number, count, torch.device("cpu"), "float32")
        single = one_iteration(bench, number, count, bench.device, "float32")
        for precision in PRECISIONS:
            made = one_iteration(bench, number, count, bench.device, precision)
            other = reference if precision == "float32" else single
            rows.append(
                {
                    "step": number,
                    "precision": precision,
                    "against": "CPU, float32" if precision == "float32" else "float32",
                    "losses": max(abs(made[0][name] / value - 1) for name, value in other[0].items()),
                    "gradients": max(
                        float((made[1][name] - value).norm() / value.norm()) for name, value in other[1].items()
                    ),
                }
            )
    return rows


def one_iteration(
    bench: Bench, number: int, count: int, device: torch.device, precision: str
) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    """Losses, and the gradient of each network that moves, of a first iteration with noise drawn on the CPU."""
    step, model, optimizers = begin(bench, number, device, precision)
    for network in model.networks.values():
        if isinstance(network, NoiseEmulator):
            network.seeds = seeds_of_the_cpu(network.size, len(network.amplitudes), device)
    losses = iterate(model, step, 0, optimizers, images(bench, count, device))
    moved = {name: model.networks[name] for turn in step.turns for name in turn.moves}
    gradients = {name: torch.cat([p.grad.flatten().cpu() for p in net.parameters()]) for name, net in moved.items()}
    return losses, gradients


def seeds_of_the_cpu(size: int, bands: int, device: torch.device) -> Callable:
    """A noise emulator's `seeds`, the same numbers on every device."""
    generator = torch.Generator().manual_seed(NOISE_SEED)

    def seeds(count: int, random: object) -> tuple[torch.Tensor, torch.Tensor]:
        shapes = (count, bands), (count, bands, size + 6, size + 6)
        return tuple(torch.randn(shape, generator=generator).to(device) for shape in shapes)

    return seeds


def steps(bench: Bench) -> list[dict]:
    """Seconds, memory and GFLOP/s of an iteration, each way, beside the rates of products and convolutions alone."""
    rows = peaks(bench)
    for number in (1, 2):
        step, model, optimizers = begin(bench, number, bench.device, "float32")
        one = images(bench, 1, bench.device)
        gflop = counted(lambda: iterate(model, step, 0, optimizers, one)) * batch_size(bench) / 1e9  # noqa: B023
        for precision in PRECISIONS:
            for way in WAYS[:1] if bench.quick else WAYS:
                row = {"what": "iteration", "step": number, "precision": precision, "way": way, "gflop": gflop}
                try:
                    rows.append(row | timed_step(bench, number, precision, way))
                except Exception as error:  # a compiler that is not there, or a graph that cannot be: the others count
                    rows.append(row | {"failed": f"{type(error).__name__}: {error}"[:300]})
    return rows


def timed_step(bench: Bench, number: int, precision: str, way: str) -> dict:
    """Seconds of an iteration, the median, and the most memory of the GPU at a time."""
    step, model, optimizers = begin(bench, number, bench.device, precision)
    if way != "plain":
        compile_networks(model, "reduce-overhead" if way == WAYS[2] else None)
    batch = images(bench, batch_size(bench), bench.device)
    on_gpu = bench.device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    seconds = []
    warm, count = (0, 1) if bench.quick else (5, 25)
    for index in range(warm + count):
        seconds.append(seconds_of(bench, lambda index=index: iterate(model, step, index, optimizers, batch)))
    memory = torch.cuda.max_memory_allocated() / 1e9 if on_gpu else None
    return {"seconds": sorted(seconds[warm:])[count // 2], "warming_up": sum(seconds[:warm]), "memory_gb": memory}


def compile_networks(model: Model, mode: str | None) -> None:
    """Have PyTorch compile what is passed at once: generators, autoencoders, and each band's discriminator."""
    torch._dynamo.reset()
    for name, network in model.networks.items():
        for part in network.bands if name.startswith("discriminator") else [network]:
            part.compile(mode=mode)


def peaks(bench: Bench) -> list[dict]:
    """GFLOP/s of a product of matrices, and of a convolution of the generators' forward and backward."""
    rows, size, side = [], 256 if bench.quick else 8192, SIZES[bench.quick]["y"]
    for precision, dtype in (("float32", torch.float32), ("tf32", torch.float32), ("bf16", torch.bfloat16)):
        matrix = torch.randn(size, size, device=bench.device, dtype=dtype)
        image = torch.randn(batch_size(bench), 64, side, side, device=bench.device, dtype=dtype)
        image = image.contiguous(memory_format=torch.channels_last).requires_grad_()
        kernel = torch.randn(64, 64, 5, 5, device=bench.device, dtype=dtype, requires_grad=True)

        def convolve(image=image, kernel=kernel):
            made = torch.nn.functional.conv2d(image, kernel, padding=2)
            torch.autograd.grad(made, [image, kernel], made)

        works = {"product": lambda matrix=matrix: matrix @ matrix, "convolution": convolve}
        for what, work in works.items():
            with computing(precision):
                operations = counted(work)
                best = min(seconds_of(bench, work) for _ in range(2 if bench.quick else 20))
            rows.append({"what": what, "precision": precision, "gflops": operations / best / 1e9})
    return rows


def profile(bench: Bench) -> list[dict]:
    """The kernels that take most of an iteration's time on the device, each step, in float32 and bf16."""
    kinds = [torch.profiler.ProfilerActivity.CPU]
    on_gpu = bench.device.type == "cuda"
    kinds += [torch.profiler.ProfilerActivity.CUDA] if on_gpu else []
    rows = []
    for number in (2,) if bench.quick else (1, 2):
        for precision in ("float32", "bf16"):
            step, model, optimizers = begin(bench, number, bench.device, precision)
            batch = images(bench, batch_size(bench), bench.device)
            for index in range(0 if bench.quick else 3):
                iterate(model, step, index, optimizers, batch)
            with torch.profiler.profile(activities=kinds) as seen:
                iterate(model, step, 3, optimizers, batch)
            events = [event for event in seen.key_averages() if not on_gpu or event.self_device_time_total]
            spent = {e.key: e.self_device_time_total if on_gpu else e.self_cpu_time_total for e in events}
            whole = sum(spent.values())
            most = sorted(spent.items(), key=lambda item: -item[1])[:25]
            rows += [
                {"step": number, "precision": precision, "kernel": name[:160], "share": time / whole, "ms": time / 1e3}
                for name, time in most
            ]
    return rows


def begin(
    bench: Bench, number: int, device: torch.device, precision: str
) -> tuple[Step, Model, list[torch.optim.Optimizer]]:
    """A step of the paper's model with its networks, alike every time, and its optimisers."""
    torch.manual_seed(0)
    recipe = replace(RECIPES["two_step"], width=4) if bench.quick else RECIPES["two_step"]
    networks = recipe.build({domain: Grid(5, size) for domain, size in SIZES[bench.quick].items()}).to(device)
    step = recipe.steps[number - 1]
    fused = {"fused": True} if device.type == "cuda" else {}
    optimizers = [
        torch.optim.Adam([p for name in turn.moves for p in networks[name].parameters()], turn.learning_rate, **fused)
        for turn in step.turns
    ]
    return step, Model(networks, torch.Generator(device).manual_seed(NOISE_SEED), precision=precision), optimizers


def images(bench: Bench, count: int, device: torch.device) -> Batch:
    """Random images, in the memory order that the loader gives."""
    random = torch.Generator().manual_seed(2)
    sizes = [SIZES[bench.quick][domain] for domain in "xyxy"]
    drawn = (torch.randn(count, 5, size, size, generator=random).mul(0.1).to(device) for size in sizes)
    return Batch(*(image.contiguous(memory_format=torch.channels_last) for image in drawn))


def batch_size(bench: Bench) -> int:
    return 1 if bench.quick else RECIPES["two_step"].batch_size


def seconds_of(bench: Bench, work: Callable[[], object]) -> float:
    """Seconds until the device has done the work."""
    on_gpu = bench.device.type == "cuda"
    if on_gpu:
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if on_gpu:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def name_of(device: torch.device) -> str:
    """The GPU's own name, or how many cores of a CPU there are."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {os.cpu_count()} cores"


if __name__ == "__main__":
    main()
