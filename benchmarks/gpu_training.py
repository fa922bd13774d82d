"""The parts of gpu.py that read stores: what a training waits for, and training on a benchmark sky."""

import shutil
import statistics
import time
from itertools import pairwise
from pathlib import Path

import torch

ITERATIONS = 2_000  # of each step
WAITING = 200  # iterations over which the wait for images is measured


def measure_data(bench) -> list[dict]:
    """Seconds of an iteration, and of these how many are a wait for images, on the device and streamed."""
    rows = []
    for data in ("device", "stream"):
        for precision in ("float32", "bf16"):
            session, path = opened(bench, data, precision)
            rows.append({"data": data, "precision": precision} | waits(bench, session))
            shutil.rmtree(path)
    return rows


def waits(bench, session) -> dict:
    """What iterations of the second step, the quicker one, wait for."""
    from translator.training.session import optimizers_of
    from translator.training.update import iterate

    step = session.recipe.steps[-1]
    optimizers, batches = optimizers_of(step, session.networks), session.batches
    begun = time.perf_counter()
    batch = batches.batch(0)
    first = time.perf_counter() - begun
    count = 2 if bench.quick else WAITING
    waited, begun = batches.waited, time.perf_counter()
    for index in range(count):
        iterate(session.model, step, index, optimizers, batch)
        batch = batches.batch(index + 1)
    if bench.device.type == "cuda":
        torch.cuda.synchronize()
    seconds = (time.perf_counter() - begun) / count
    batches.close()
    waiting = (batches.waited - waited) / count
    return {"seconds": seconds, "waited": waiting, "share": waiting / seconds, "first": first, "how": batches.data}


def measure_training(bench) -> list[dict]:
    """Both steps by the command's own loop: the median seconds of an iteration, its first and last losses, memory."""
    from translator.training import loop

    rows = []
    for precision in ("float32", "bf16"):
        session, path = opened(bench, "auto", precision)
        seen = []

        def after(step, spent, losses, seen=seen):
            seen.append((step, time.perf_counter(), losses))

        begun = time.perf_counter()
        loop.train(session, after)
        for number in (1, 2):
            some = [one for one in seen if one[0] == number]
            gaps = [after - before for (_, before, _), (_, after, _) in pairwise(some)]
            tail = some[-max(1, len(some) // 20) :]
            rows.append(
                {
                    "step": number,
                    "precision": precision,
                    "iterations": len(some),
                    "seconds": statistics.median(gaps),
                    "first_losses": some[0][2],
                    "last_losses": {name: statistics.median(one[name] for *_, one in tail) for name in some[0][2]},
                    "whole_run": time.perf_counter() - begun,
                    "memory_gb": torch.cuda.max_memory_allocated() / 1e9 if bench.device.type == "cuda" else None,
                }
            )
        shutil.rmtree(path)
    return rows


def opened(bench, data: str, precision: str) -> tuple:
    """A new session on the sky's stores, and its folder, which holds nothing of worth."""
    from translator.training.session import TrainingInputs, TrainingSettings, open_session

    path: Path = bench.out / f"run-{data}-{precision}"
    shutil.rmtree(path, ignore_errors=True)
    inputs = TrainingInputs(bench.sky / "sdss.zarr", bench.sky / "cfht.zarr", bench.sky / "pairs.ecsv")
    settings = TrainingSettings(
        "two_step",
        iterations=3 if bench.quick else ITERATIONS,
        batch_size=2 if bench.quick else None,
        width=4 if bench.quick else None,
        device=str(bench.device),
        checkpoint_every=10**9,
        precision=precision,
        data=data,
    )
    return open_session(inputs, path, settings), path
