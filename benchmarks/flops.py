"""Floating-point operations that PyTorch executes, by PyTorch's own formulas for each operation."""

from collections.abc import Callable

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class _Counter(TorchDispatchMode):
    """Adds up the operations of convolutions and matrix products, forward and backward, while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        """Execute one operation and count it."""
        made = function(*args, **(kwargs or {}))
        count = flop_registry.get(function.overloadpacket)
        self.total += count(*args, **(kwargs or {}), out_val=made) if count else 0
        return made


def counted(work: Callable[[], object]) -> int:
    """Operations of `work`. PyTorch's own counter knows modules too, but not a gradient within a forward pass."""
    with _Counter() as counter:
        work()
    return counter.total
