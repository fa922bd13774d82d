"""The device that networks run on."""

import torch

from survey_tools.errors import RunError

FIRST_CALLS = (torch.sqrt, torch.rsqrt, torch.exp, torch.expm1, torch.log, torch.log1p, torch.tanh)


def choose_device(name: str) -> torch.device:
    """The device called `name`; "auto" is a GPU where there is one. RunError where it is not there."""
    _make_first_calls()
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
