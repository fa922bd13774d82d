"""The device that networks run on, and how PyTorch computes there."""

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
PRECISIONS = {  # of a training's convolutions: how many bits are multiplied, and the type that keeps the result
    "float32": "24 bits, float32",
    "tf32": "11 bits, float32; on the CPU as float32",
    "bf16": "8 bits, bfloat16; as tf32 in the Fourier branch, noise and last layers; losses, weights in float32",
}
TIMED, CLEARLY = 12, 0.8  # convolutions that are timed in each type; the share of the time that counts as clearly less
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of GNU's malloc.h
# For `one_thread`: a lock, how many callers are in it, and the number of threads before.
_lock, _users, _before = threading.Lock(), 0, 1


def choose_device(name: str) -> torch.device:
    """Return the device called `name`; "auto" is a GPU if there is one. RunError if this machine does not have it."""
    _make_first_calls()
    torch.backends.cudnn.allow_tf32 = False  # float32 means float32; `computing` changes that if the user asks for it
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:  # an unknown name, or a device that this machine lacks
        raise RunError(f"no device {name!r} here; give auto, cpu or, with an NVIDIA GPU, cuda") from error
    return torch.device(name)


def _make_first_calls() -> None:
    """Call each function once on one thread, on one number.

    The MKL inside PyTorch's CPU builds chooses a function's code on its first call. If that call comes from several
    threads at once, one of them may silently run code of low accuracy: square roots wrong by 1e-4, once in some hundred
    processes on a busy machine (PyTorch issue 188792). No stretch and no training would then be reproducible.
    """
    for function in FIRST_CALLS:
        for dtype in (torch.float32, torch.float64):
            function(torch.ones(1, dtype=dtype))


@contextmanager
def one_thread(device: torch.device) -> Iterator[None]:
    """Let this thread, and those that start in the meantime, pass networks on the CPU with one PyTorch thread each.

    The number of threads that share a convolution decides which code computes it, and so its last digits: 2e-6 of the
    stretched image. With one thread, results are the same on any number of cores; the other cores work on other images.
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
    """Multiply on a GPU in a precision of `PRECISIONS`.

    By default PyTorch would use TF32 for convolutions in float32.
    """
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32
    cudnn.allow_tf32 = matmul.allow_tf32 = precision != "float32"
    try:
        yield
    finally:
        cudnn.allow_tf32, matmul.allow_tf32 = before


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Return a context in which layers run in bf16 if the precision is that; gradients are taken outside of it."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def has_bf16(device: torch.device) -> bool:
    """Return whether a device multiplies in bfloat16 by its own instructions, and faster than in float32.

    Of CPUs that have such instructions some are twice as fast with them and some slower, so one convolution is timed.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported() and _is_bf16_faster()


@cache
def _is_bf16_faster() -> bool:
    """Return whether a convolution on this CPU takes clearly less time in bfloat16; this takes 0.1 s, once in a
    process.
    """
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
    """Let this process keep the memory that PyTorch frees on a CPU, for its next maps of the same sizes.

    The C library returns large blocks to the system at once, and the system clears each page before it hands it out
    again, which takes a tenth of a training's time. Without the GNU library nothing happens.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, -1)
