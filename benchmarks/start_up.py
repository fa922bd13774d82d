"""How long `galtrans --help` takes, above a Python that imports click."""

import statistics
import subprocess
import sys
import time

from figures import Figure, main

COMMANDS = {
    "galtrans": [sys.executable, "-m", "cli", "--help"],
    "click": [sys.executable, "-c", "import click"],
    "python": [sys.executable, "-c", ""],
}


def measure(quick: bool) -> list[Figure]:
    """`galtrans --help` beside a Python that imports click: the median of processes in turn."""
    seconds = {name: [] for name in COMMANDS}
    for _ in range(3 if quick else 25):
        for name, command in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            seconds[name].append(time.perf_counter() - start)
    ours, click, python = (statistics.median(seconds[name]) for name in COMMANDS)
    return [
        Figure(
            stage="start",
            what="help of the whole command, above a Python that imports click",
            rate=ours - click,
            unit="s",
            against="`python -c 'import click'`, whole",
            plain=click,
            ratio=ours / click,
            target="<= 0.3 s",
            limit=f"an empty Python takes {python:.3f} s",
            bound="importing the commands, each of which says one line of help",
            of_rate=True,
        )
    ]


if __name__ == "__main__":
    main(measure)
