"""The script for Slurm in docs/how-to/cluster.md, run as a user runs it, with stand-ins for Slurm's commands."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner

from cli.main import galtrans

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "cluster.md"
SMALLER = {  # a small machine in place of a cluster, and the small sky in place of SDSS
    'queue="normal", cores=8': 'queue="normal", cores=1',
    "scale(jobs=4)": "scale(jobs=2)",
    '"/data/sdss"': '"mirror"',
    '"sdss-targets.fits"': '"mine.csv", "--bands", "gr"',
}
SBATCH = """
import pathlib, shutil, subprocess
jobs = pathlib.Path(os.environ["JOBS"])
script = jobs / f"{os.getpid()}.sh"
shutil.copy(sys.argv[1], script)  # it is removed as soon as it is submitted
with (jobs / f"{os.getpid()}.log").open("w") as log:
    job = subprocess.Popen(["bash", str(script)], stdout=log, stderr=log, start_new_session=True)
(jobs / f"{job.pid}.job").touch()
print("Submitted batch job", job.pid)
"""
SCANCEL = """
import signal
os.killpg(int(sys.argv[1]), signal.SIGTERM)
"""


def example() -> str:
    """The script of the page, for a small machine."""
    (script,) = re.findall(r"```python\n((?:(?!```).)*SLURMCluster.*?)```", PAGE.read_text(), re.DOTALL)
    for said, meant in SMALLER.items():
        assert said in script
        script = script.replace(said, meant)
    return script


def living(jobs: Path) -> list[psutil.Process]:
    """Processes of the jobs that are still there."""
    groups = {int(path.stem) for path in jobs.glob("*.job")}
    found = []
    for process in psutil.process_iter(["pid", "status"]):
        try:
            if os.getpgid(process.pid) in groups and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process)
        except ProcessLookupError:
            continue
    return found


@pytest.fixture
def slurm(tmp_path):
    """A folder of jobs, and an environment in which sbatch and scancel run them on this machine."""
    commands, jobs = tmp_path / "bin", tmp_path / "jobs"
    commands.mkdir()
    jobs.mkdir()
    for name, text in {"sbatch": SBATCH, "scancel": SCANCEL}.items():
        (commands / name).write_text(f"#!{sys.executable} -I\nimport os, sys\n{text}")
        (commands / name).chmod(0o755)
    environment = os.environ | {
        "PATH": os.pathsep.join([str(commands), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "JOBS": str(jobs),
        "DASK_JOBQUEUE__SLURM__INTERFACE": "lo",
        "DASK_JOBQUEUE__SLURM__SCHEDULER_OPTIONS": "{'dashboard_address': '127.0.0.1:0'}",
        "DASK_JOBQUEUE__SLURM__DEATH_TIMEOUT": "30",
        "PYTHONWARNINGS": "error",
    }
    yield jobs, environment
    for process in living(jobs):
        process.kill()


def test_the_script_in_the_docs_makes_the_same_store_by_jobs_of_slurm(tmp_path, known_sky, slurm, monkeypatch):
    jobs, environment = slurm
    places = [known_sky.position(known_sky.frame_wcs(), *pixel) for pixel in ((108.2, 131.4), (20, 130), (150, 80))]
    for band in "gr":
        known_sky.write_frame(tmp_path / "mirror", band, [known_sky.Galaxy(*places[0])])
    known_sky.catalogue([*places, (10.0, 10.0)], field=100).write(tmp_path / "mine.csv")
    (tmp_path / "fetch.py").write_text(example())
    run = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True, "timeout": 120, "check": False}
    by_jobs = subprocess.run([sys.executable, "fetch.py"], **run)
    logs = "\n".join(path.read_text() for path in jobs.glob("*.log"))
    assert by_jobs.returncode == 0, by_jobs.stderr + logs
    assert by_jobs.stderr == ""
    link = r"(; watch them at http://127\.0\.0\.1:\d+.*)?"  # where the scheduler has a page that answers
    assert re.search(rf"^[12] workers? on the cluster{link}$", by_jobs.stdout, re.MULTILINE), by_jobs.stdout
    assert "4 objects: 3 done" in by_jobs.stdout
    assert len(list(jobs.glob("*.job"))) == 2
    for script in jobs.glob("*.sh"):
        assert {"#SBATCH -p normal", "#SBATCH -t 12:00:00"} <= set(script.read_text().splitlines())
    deadline = time.monotonic() + 20
    while living(jobs) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not living(jobs)
    (tmp_path / "sdss.zarr").rename(tmp_path / "by_jobs.zarr")
    local = "galtrans fetch sdss --catalogue mine.csv --mirror mirror --bands gr --out sdss.zarr --workers 1"
    monkeypatch.chdir(tmp_path)
    here = CliRunner().invoke(galtrans, local.split()[1:])
    assert here.exit_code == 0, here.output
    assert _contents(tmp_path / "by_jobs.zarr") == _contents(tmp_path / "sdss.zarr")


def _contents(store: Path) -> dict[str, bytes]:
    return {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if path.is_file()}
