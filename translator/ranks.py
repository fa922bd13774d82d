"""Processes that train one model together: what they agree on."""

import torch
import torch.distributed as dist
from torch import Tensor

from translator.share import Share


def average(tensors: list[Tensor], share: Share) -> None:
    """Replace tensors of one kind and device by their means over all processes, in one exchange."""
    if share.count == 1:
        return
    flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
    dist.all_reduce(flat)
    flat /= share.count
    for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.detach().copy_(mean.view_as(tensor))
