"""What a benchmark says: a stage measured beside a plain alternative, and what bounds it.

A script of this folder that has a `measure(quick)` ends with `figures.main(measure)`; `galtrans bench` runs them all.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

HEADINGS = ("stage", "what", "rate", "against", "its rate", "ratio", "target", "limit", "bound by")


@dataclass(frozen=True)
class Figure:
    """One row of the table.

    Attributes:
        stage: Of galtrans: "loader", "train", "crossmatch", "regrid", "translate", "start".
        what: What was measured, with its size.
        rate: Measured, in `unit`.
        unit: Such as "MB/s", "s/iteration", "objects/s".
        against: The plain alternative, measured in the same run; "" where there is none.
        plain: Its rate, in the same unit.
        ratio: Of the two, the way the target has it.
        target: What is wanted, in words that begin with ">= NUMBER" or "<= NUMBER" of the ratio, or of the rate where
            `of_rate`; "" where nothing is.
        limit: What cannot be passed, with its figure: "2 cores decode 1,800 MB/s".
        bound: What the time goes to.
        of_rate: Whether the target is one of the rate.
    """

    stage: str
    what: str
    rate: float
    unit: str
    against: str = ""
    plain: float | None = None
    ratio: float | None = None
    target: str = ""
    limit: str = ""
    bound: str = ""
    of_rate: bool = False

    @property
    def reached(self) -> bool | None:
        """Whether the target is; None where there is none."""
        if not self.target:
            return None
        sign, number, *_ = self.target.split()
        value = self.rate if self.of_rate else self.ratio
        return value >= float(number) if sign == ">=" else value <= float(number)


def main(measure: Callable[[bool], list[Figure]]) -> None:
    """The command line of a benchmark: measure, print the table, write JSON."""
    parser = argparse.ArgumentParser(description=measure.__doc__)
    parser.add_argument("--quick", action="store_true", help="on little data: whether it runs, not how fast")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="where to write the figures")
    arguments = parser.parse_args()
    try:
        figures = measure(arguments.quick)
    except KeyboardInterrupt:  # what was made for the measurement has been removed on the way here
        sys.exit(1)
    print(table(figures))
    if arguments.out:
        arguments.out.write_text(json.dumps(document(figures, quick=arguments.quick), indent=2) + "\n")


def document(figures: list[Figure], *, quick: bool) -> dict:
    """The figures as JSON holds them, with the machine, its load and the date."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "load_1min": os.getloadavg()[0],
        "quick": quick,
        "figures": [asdict(figure) | {"reached": figure.reached} for figure in figures],
    }


def machine() -> str:
    """Cores, processor and versions in a line."""
    model = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "zarr"))
    return f"{os.cpu_count()} cores, {model}, Python {platform.python_version()}, {packages}"


def table(figures: list[Figure]) -> str:
    """The figures as a table in Markdown."""
    rows = [HEADINGS, ("---",) * len(HEADINGS), *map(_cells, figures)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def _cells(figure: Figure) -> tuple[str, ...]:
    mark = {True: " (reached)", False: " (missed)", None: ""}[figure.reached]
    return (
        figure.stage,
        figure.what,
        f"{figure.rate:.4g} {figure.unit}",
        figure.against,
        "" if figure.plain is None else f"{figure.plain:.4g} {figure.unit}",
        "" if figure.ratio is None else f"{figure.ratio:.3g}",
        figure.target + mark,
        figure.limit,
        figure.bound,
    )
