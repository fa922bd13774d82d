"""The last part of gpu.py: one page of what the others have found."""

import json
from pathlib import Path

SCHEDULE = 60_000  # iterations of each step in the paper
IMAGES = 96  # of an iteration: 24 of each survey, and 24 pairs
PAPER_HOURS = 30.0


def summarise(out: Path) -> None:
    """Write OUT/summary.md and OUT/summary.json of the parts that are there; print the first."""
    parts = {path.stem: json.loads(path.read_text()) for path in sorted(out.glob("*.json")) if path.stem != "summary"}
    table = configurations(parts["steps"]["rows"]) if "steps" in parts else []
    lines = ["# Training on a GPU", ""]
    for name, part in parts.items():
        mark = "; narrow networks, nothing is measured" if part["quick"] else ""
        lines.append(f"- {name}: {part['device']}, PyTorch {part['torch']}, {part['seconds']:.0f} s{mark}")
    sections = {"Configurations": table} | {name.capitalize(): part["rows"] for name, part in parts.items()}
    for title, rows in sections.items():
        for kind in kinds_of(rows):
            lines += ["", f"## {title}", "", *markdown(kind)]
    (out / "summary.md").write_text("\n".join(lines) + "\n")
    (out / "summary.json").write_text(json.dumps({"configurations": table, "parts": parts}, indent=2) + "\n")
    print("\n".join(lines))


def configurations(rows: list[dict]) -> list[dict]:
    """A row a configuration: rates of both steps, hours of the paper's schedule, memory, and the share of the peak."""
    peak = {row["precision"]: row["gflops"] for row in rows if row["what"] == "product"}
    convolution = {row["precision"]: row["gflops"] for row in rows if row["what"] == "convolution"}
    table = []
    timed = [row for row in rows if row["what"] == "iteration" and "seconds" in row]
    for first in [row for row in timed if row["step"] == 1]:
        same = [r for r in timed if r["step"] == 2 and (r["precision"], r["way"]) == (first["precision"], first["way"])]
        for second in same:
            hours = SCHEDULE * (first["seconds"] + second["seconds"]) / 3600
            rates = [row["gflop"] / row["seconds"] for row in (first, second)]
            memory = [row["memory_gb"] for row in (first, second) if row["memory_gb"] is not None]
            table.append(
                {
                    "configuration": f"{first['precision']}, {first['way']}",
                    "step one [it/s]": 1 / first["seconds"],
                    "step two [it/s]": 1 / second["seconds"],
                    "step one [images/s]": IMAGES / first["seconds"],
                    "step two [images/s]": IMAGES / second["seconds"],
                    "hours for 2 x 60,000": hours,
                    "times the paper's 30 h": PAPER_HOURS / hours,
                    "GPU memory [GB]": max(memory, default=None),
                    "step one [TFLOP/s]": rates[0] / 1e3,
                    "step two [TFLOP/s]": rates[1] / 1e3,
                    "of the products' rate": max(rates) / peak[first["precision"]],
                    "of the convolution's rate": max(rates) / convolution[first["precision"]],
                }
            )
    return table


def kinds_of(rows: list[dict]) -> list[list[dict]]:
    """Rows that have the same columns, together."""
    kinds: dict[tuple, list[dict]] = {}
    for row in rows:
        kinds.setdefault(tuple(row), []).append(row)
    return list(kinds.values())


def markdown(rows: list[dict]) -> list[str]:
    """A table of rows that have the same columns."""
    cells = [[f"{value:.4g}" if isinstance(value, float) else f"{value}" for value in row.values()] for row in rows]
    return [f"| {' | '.join(line)} |" for line in [list(rows[0]), ["---"] * len(rows[0]), *cells]]
