"""How often the first square root of a process differs from its second, begun at once or on one number before.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/first_calls.py 33000

Forks processes of two threads, six at a time, which find the cores busy with each other. The parent must not have
called the function: a fork would inherit what that decided.
"""

import os
import sys

import torch

AT_ONCE, COUNT = 6, 81_920  # processes; numbers whose roots are taken


def differs(warm: bool) -> bool:
    """Whether, in this process, the first roots of many numbers are not the second's."""
    torch.set_num_threads(2)
    if warm:
        torch.ones(1).sqrt()
    numbers = torch.rand(COUNT, generator=torch.Generator().manual_seed(0))
    return not torch.equal(numbers.sqrt(), numbers.sqrt())


def count(warm: bool, trials: int) -> int:
    """In how many of so many processes they differ."""
    started = ended = different = 0
    while ended < trials:
        while started < trials and started - ended < AT_ONCE:
            if os.fork() == 0:
                os._exit(differs(warm))
            started += 1
        different += os.waitstatus_to_exitcode(os.wait()[1])
        ended += 1
    return different


if __name__ == "__main__":
    trials = int(sys.argv[1])
    print(f"begun at once: {count(False, trials)} of {trials}; on one number before: {count(True, trials)} of {trials}")
