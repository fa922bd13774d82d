"""Partitioned stores of many small images: made, matched, regridded, trained on, translated and verified on a cluster.

    python benchmarks/partitions.py --rows 1000000 --work /data/trial --out partitions.json

The cluster is a `LocalCluster` of two processes on this machine, each with 1.5 GB of memory, one of which is killed
while the second store is made. For each stage the seconds, the largest memory of each process (RSS, and USS, which
leaves out shared pages of files), and the files and bytes that are left are printed. A run that is interrupted goes on
from the stages that are done. `drawn_stores.py` draws the images.
"""

import argparse
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
from drawn_stores import GRIDS, make
from figures import machine

import survey_tools

MEMORY = "1.5GB"  # of a worker
STEP = 0.5  # [s] between two looks at the memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--most", type=int, default=2**17, help="objects of a partition at most")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--stages", default="x,y,crossmatch,regrid,verify,train,translate,verify translated")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    from distributed import Client, LocalCluster

    facts = {"n_workers": arguments.workers, "threads_per_worker": 1, "memory_limit": MEMORY, "dashboard_address": None}
    arguments.work.mkdir(parents=True, exist_ok=True)
    done = arguments.work / "figures.json"
    found = json.loads(done.read_text()) if done.exists() else {}
    with LocalCluster(processes=True, **facts) as cluster, Client(cluster, set_as_default=False) as client:
        for stage in arguments.stages.split(","):
            if stage in found:
                continue
            found[stage] = measure(partial(run, stage, arguments, client), client, kill=stage == "y")
            found[stage] |= weigh(arguments.work / PLACES.get(stage, "none"))
            print(stage, json.dumps(found[stage]), flush=True)
            done.write_text(json.dumps(found, indent=1))
    print(table(found, arguments.rows))
    if arguments.out:
        arguments.out.write_text(json.dumps({"machine": machine(), "rows": arguments.rows, "stages": found}, indent=1))


PLACES = {"x": "x", "y": "y", "crossmatch": "pairs", "regrid": "y8", "train": "run", "translate": "translated"}


def run(stage: str, arguments: argparse.Namespace, client) -> None:
    """Run one stage through the front door, with each partition a task of the cluster."""
    work, where = arguments.work, {"workers": client}
    if stage in GRIDS:
        make(stage, arguments.rows, arguments.most, work / stage, client)
    elif stage == "crossmatch":
        survey_tools.crossmatch(work / "x", work / "y", out=work / "pairs", test_size=arguments.rows // 100, **where)
    elif stage == "regrid":
        survey_tools.regrid(work / "y", work / "x", work / "y8", **where)
    elif stage.startswith("verify"):
        wrong = survey_tools.verify(work / ("translated" if stage.endswith("translated") else "x"), **where)
        assert not wrong, wrong[:3]
    elif stage == "train":
        import translator

        path = work / "run"
        translator.train(
            work / "x", work / "y", work / "pairs", run=path, recipe="psf_matched", iterations=arguments.iterations,
            batch_size=8, width=8, device="cpu", data="stream", resume=(path / "run.json").exists(), tell=print,
        )  # fmt: skip
    elif stage == "translate":
        import translator

        translator.translate(work / "run", work / "x", out=work / "translated", device="cpu", **where)


class Watch(threading.Thread):
    """The largest memory of this process and of its workers, and the death of one of them."""

    def __init__(self, kill: bool) -> None:
        super().__init__(daemon=True)
        self.kill, self.killed, self.peak, self.over = kill, 0, {}, threading.Event()
        self.began = time.monotonic()

    def run(self) -> None:
        me = psutil.Process()
        while not self.over.wait(STEP):
            everyone = [me, *(each for each in me.children(recursive=True) if is_worker(each))]
            for number, process in enumerate(everyone):
                role = "main" if number == 0 else "worker"
                try:
                    memory = process.memory_full_info()
                except psutil.Error:
                    continue
                for name in ("rss", "uss"):
                    key = f"{role} {name}"
                    self.peak[key] = max(self.peak.get(key, 0), getattr(memory, name))
            if self.kill and not self.killed and time.monotonic() - self.began > 8 and len(everyone) > 1:
                self.killed = everyone[1].pid
                os.kill(self.killed, signal.SIGKILL)


def is_worker(process: psutil.Process) -> bool:
    try:
        return "spawn_main" in " ".join(process.cmdline())
    except psutil.Error:
        return False


def measure(work: Callable[[], None], client, *, kill: bool) -> dict:
    """The seconds and the largest memory [MB] of a stage."""
    watch, began = Watch(kill), time.monotonic()
    watch.start()
    try:
        work()
    finally:
        watch.over.set()
        watch.join()
    memory = {name: round(value / 1e6) for name, value in watch.peak.items()}
    return {"seconds": round(time.monotonic() - began, 1), "killed": int(bool(watch.killed)), "MB": memory}


def weigh(folder: Path) -> dict:
    """Files and bytes of a folder."""
    files = [each for each in folder.rglob("*") if each.is_file()]
    return {"files": len(files), "bytes": sum(each.stat().st_size for each in files)}


def table(found: dict, rows: int) -> str:
    """The stages in Markdown."""
    head = f"| {rows:,} rows | s | µs a row | MB of the command | MB of a worker (USS) | files | GB |"
    lines = [head, "|---|---|---|---|---|---|---|"]
    for stage, each in found.items():
        memory = each["MB"]
        lines.append(
            f"| {stage}{', a worker killed' if each['killed'] else ''} | {each['seconds']:,.0f} "
            f"| {each['seconds'] / rows * 1e6:.1f} | {memory.get('main rss', 0):,} "
            f"| {memory.get('worker rss', 0):,} ({memory.get('worker uss', 0):,}) | {each['files']:,} "
            f"| {each['bytes'] / 1e9:.2f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
