"""A loss of many parts, of which only one is remembered at a time."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def at_once(loss: Callable[[Tensor], Tensor], image: Tensor, network: nn.Module) -> Tensor:
    """The scalar `loss(image)`, whose gradient is taken now and not in the backward pass.

    What its layers gave is forgotten before the next part is made: ten parts need the memory of one, at no further
    operation. The gradient is the same; a gradient of the gradient cannot be had.

    Args:
        loss: Of an image (B, C, H, W); a function of the image and of the network's parameters alone.
        image: What it reads.
        network: Whose parameters it reads.
    """
    parameters = list(network.parameters())
    if not torch.is_grad_enabled() or not any(tensor.requires_grad for tensor in (image, *parameters)):
        return loss(image)
    return _AtOnce.apply(loss, image, *parameters)


class _AtOnce(torch.autograd.Function):
    """The function of `at_once`, with what PyTorch must be told of it."""

    @staticmethod
    def forward(ctx, loss: Callable[[Tensor], Tensor], image: Tensor, *parameters: Tensor) -> Tensor:
        """The scalar; its gradients by whatever wants one are kept."""
        wanted = ctx.needs_input_grad[1:]
        with torch.enable_grad():
            image = image.detach().requires_grad_(wanted[0])
            value = loss(image)
        inputs = [tensor for tensor, is_wanted in zip((image, *parameters), wanted, strict=True) if is_wanted]
        with torch.autocast(image.device.type, enabled=False):
            found = iter(torch.autograd.grad(value, inputs))
        ctx.gradients = [next(found) if is_wanted else None for is_wanted in wanted]
        return value.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx, weight: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients, times the weight that the value has in what is differentiated."""
        return None, *(None if gradient is None else gradient * weight for gradient in ctx.gradients)
