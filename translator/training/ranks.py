"""The agreement of processes that train one model together, and what Ctrl-C does."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from survey_tools.errors import GaltransError, RunError, first_line
from translator.images import WHOLE, Share

PATIENCE = timedelta(minutes=30)  # for a process that reads from a slow disk, or writes a checkpoint

SAID = 120  # letters at most of what PyTorch says of a lost connection

Made = TypeVar("Made")


@contextmanager
def joined(device: str) -> Iterator[tuple[Share, str]]:
    """Join the processes of a training; give this process's share of it and its device.

    A process is alone, or one of those that `torchrun` has started.

    Parameters
    ----------
    device : str
        The device that the user asks for. "cuda" or "auto" of several processes stands for one GPU each.

    Raises
    ------
    RunError
        If the processes do not find each other, or if the user names one GPU for all.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield WHOLE, device
        return
    if device.startswith("cuda:"):
        raise RunError(f"{count} processes cannot all train on {device}; give --device cuda, and each takes its own")
    if device == "cuda" or (device == "auto" and torch.cuda.is_available()):
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        if int(os.environ["LOCAL_RANK"]) < torch.cuda.device_count():
            torch.cuda.set_device(device)
    try:
        store, rank, count = next(rendezvous("env://", timeout=PATIENCE))
        # The store still has the entries of processes that have ended when torchrun restarts them.
        store = dist.PrefixStore(f"start_{_restarts()}", store)
        backend = "nccl" if device.startswith("cuda") else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=PATIENCE)
    except (RuntimeError, ValueError, OSError) as error:
        raise RunError(
            f"process {os.environ['RANK']} of {count} does not find the others ({_said(error)}); start all by "
            "one torchrun, or by one on each machine with the same --rdzv-endpoint"
        ) from error
    try:
        yield Share(dist.get_rank(), count), device
    finally:
        dist.destroy_process_group()


def restarted() -> bool:
    """Return whether `torchrun` has restarted the processes because one had ended."""
    return _restarts() > 0


def launcher() -> list[str]:
    """Return the words of the command by which a user starts a training in the way this one was started."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return ["galtrans", "train"]
    machines = ["--nnodes", os.environ["GROUP_WORLD_SIZE"]] if int(os.environ.get("GROUP_WORLD_SIZE", "1")) > 1 else []
    return ["torchrun", *machines, "--nproc-per-node", os.environ["LOCAL_WORLD_SIZE"], "-m", "cli", "train"]


def in_all(share: Share, work: Callable[[], Made]) -> Made:
    """Return the result of `work` if it succeeds in every process.

    Otherwise all processes end. The first one in which it failed raises the error, the others end without a word.
    """
    made, failure = None, None
    try:
        made = work()
    except (GaltransError, OSError) as error:
        failure = error
    if share.count > 1:
        failed = gather(failure is not None, share)
        if any(failed) and failed.index(True) != share.rank:
            raise SystemExit(1)
    if failure:
        raise failure
    return made


def gather(said: object, share: Share) -> list:
    """Return what each process passes, in the order of their ranks."""
    if share.count == 1:
        return [said]
    answers: list = [None] * share.count
    with _together():
        dist.all_gather_object(answers, said)
    return answers


def any_asks(asked: bool, share: Share, device: torch.device) -> bool:
    """Return whether any of the processes asks, so that all do the same."""
    if share.count == 1:
        return asked
    flag = torch.tensor(float(asked), device=device)
    with _together():
        dist.all_reduce(flag, dist.ReduceOp.MAX)
    return bool(flag)


def average(tensors: list[Tensor], share: Share) -> None:
    """Replace tensors of one kind and device by their means over all processes, in one exchange."""
    if share.count == 1:
        return
    flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
    with _together():
        dist.all_reduce(flat)
    flat /= share.count
    for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.detach().copy_(mean.view_as(tensor))


@contextmanager
def _together() -> Iterator[None]:
    """Raise RunError if the other processes are gone."""
    try:
        yield
    except RuntimeError as error:
        raise RunError(
            f"process {dist.get_rank()} has lost the others of this training ({_said(error)}): one of them has "
            "ended and says why; the last checkpoint is kept, so resume with --resume"
        ) from error


def _restarts() -> int:
    """Return how often `torchrun` has restarted the processes."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def _said(error: BaseException) -> str:
    """Return the start of what an error says."""
    return first_line(error)[:SAID]


class Interrupts:
    """While open, Ctrl-C and SIGTERM only set `asked`, which the work looks at; a second one interrupts at once.

    Signals reach the main thread only, so in any other thread nothing changes.

    Parameters
    ----------
    share : Share
        Of several processes only the first speaks, and a second signal changes nothing, because the program that
        started them passes on to each the signals that it has had itself.

    Attributes
    ----------
    asked : bool
        Whether the user, or the system, asks to stop.
    """

    def __init__(self, share: Share = WHOLE) -> None:
        self.asked, self._share = False, share
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: object) -> None:
        """Note a signal, and tell the user what happens next."""
        if self.asked and self._share.count == 1:
            raise KeyboardInterrupt
        if not self.asked and self._share.rank == 0:
            again = b"" if self._share.count > 1 else b"; press Ctrl-C again to stop without saving"
            # print() is not safe here: a signal may come while Python itself is writing.
            os.write(2, b"\nStopping after this iteration, then saving" + again + b".\n")
        self.asked = True
