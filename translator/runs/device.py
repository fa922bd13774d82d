"""The device that networks run on."""

import ctypes
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
import torch.nn.functional as F

from survey_tools.errors import RunError

FIRST_CALLS = (torch.sqrt, torch.rsqrt, torch.exp, torch.expm1, torch.log, torch.log1p, torch.tanh)
PRECISIONS = {  # of a training's convolutions: how many bits are multiplied, and kept in which type
    "float32": "24 bits, float32",
    "tf32": "11 bits, float32; on the CPU as float32",
    "bf16": "8 bits, bfloat16; as tf32 in the Fourier branch, noise and last layers; losses, weights in float32",
}
TIMED, CLEARLY = 12, 0.8  # convolutions that are timed in each type; part of the time that is clearly less
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of GNU's malloc.h
_lock, _users, _before = threading.Lock(), 0, 1  # of `one_thread`: who is in it, and how many threads there were


def choose_device(name: str) -> torch.device:
    """The device called `name`; "auto" is a GPU where there is one. RunError where it is not there."""
    _make_first_calls()
    torch.backends.cudnn.allow_tf32 = False  # a float32 is one; `computing` says otherwise where a user does
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:  # an unknown word, or a device that this machine lacks
        raise RunError(f"no device {name!r} here; give auto, cpu or, with an NVIDIA GPU, cuda") from error
    return torch.device(name)


def _make_first_calls() -> None:
    """Call each function once on one thread, on one number.

    The MKL inside PyTorch's CPU builds chooses a function's code on its first call. Where that call comes from several
    threads at once, one of them may run code of low accuracy, without a word: square roots wrong by 1e-4, once in some
    hundred processes on a busy machine (PyTorch issue 188792). No stretch and no training would then be reproducible.
    """
    for function in FIRST_CALLS:
        for dtype in (torch.float32, torch.float64):
            function(torch.ones(1, dtype=dtype))


@contextmanager
def one_thread(device: torch.device) -> Iterator[None]:
    """Have this thread, and those that begin meanwhile, pass networks on the CPU with one thread of PyTorch's each.

    How many threads share a convolution decides which code makes it, and that its last digits: 2e-6 of the stretched
    image. With one, results are the same whatever cores a machine has; its other cores are for other images.
    """
    global _users, _before
    if device.type != "cpu":
        yield
        return
    with _lock:
        _before = _before if _users else torch.get_num_threads()
        _users += 1
    torch.set_num_threads(1)
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                torch.set_num_threads(_before)


@contextmanager
def computing(precision: str) -> Iterator[None]:
    """Multiply on a GPU as a row of `PRECISIONS` says. PyTorch alone would take TF32 for convolutions in float32."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32
    cudnn.allow_tf32 = matmul.allow_tf32 = precision != "float32"
    try:
        yield
    finally:
        cudnn.allow_tf32, matmul.allow_tf32 = before


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Within it layers are passed in bf16 where the precision is that; gradients are taken outside."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def has_bf16(device: torch.device) -> bool:
    """Whether a device multiplies in bfloat16 by instructions of its own, and faster than in float32.

    Of CPUs that have such instructions some are twice as fast with them and some slower, so one convolution is timed.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported() and _is_bf16_faster()


@cache
def _is_bf16_faster() -> bool:
    """Whether a convolution on this CPU takes clearly less time in bfloat16: 0.1 s are spent on it, once a process."""
    kinds, least = (torch.float32, torch.bfloat16), {}
    images, kernels = (
        {kind: torch.ones(shape, dtype=kind).to(memory_format=torch.channels_last) for kind in kinds}
        for shape in ((4, 64, 34, 34), (64, 64, 3, 3))
    )
    with torch.no_grad():
        for _ in range(TIMED):
            for kind in kinds:
                begun = time.perf_counter()
                F.conv2d(images[kind], kernels[kind], padding=1)
                least[kind] = min(least.get(kind, torch.inf), time.perf_counter() - begun)
    return least[torch.bfloat16] < CLEARLY * least[torch.float32]


def keep_memory() -> None:
    """Have this process keep the memory that PyTorch frees on a CPU, for its next maps of the same sizes.

    The C library gives large blocks back to the system at once, and the system clears each page that it hands out
    again: a tenth of a training's time. Without GNU's library nothing happens.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, -1)
