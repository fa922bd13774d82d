"""Some of the benchmarks one after the other, each in a process of its own: one table, one file.

python benchmarks/together.py crossmatch.py regrid.py --out figures.json
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from figures import Figure, document, table

from survey_tools.files import whole_file
from survey_tools.tasks import run_to_end

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scripts", nargs="+", metavar="SCRIPT.py")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        for script in arguments.scripts:
            print(f"{script} …", file=sys.stderr)
            found = Path(folder) / f"{script}.json"
            words = ["--out", str(found), *(["--quick"] if arguments.quick else [])]
            command = [sys.executable, str(HERE / script), *words]
            if run_to_end(command, silent=True):
                sys.exit(f"Error: {script} failed")
            rows = json.loads(found.read_text())["figures"]
            figures += [Figure(**{name: value for name, value in row.items() if name != "reached"}) for row in rows]
    print(table(figures))
    if arguments.out:
        with whole_file(arguments.out) as temporary:
            temporary.write_text(json.dumps(document(figures, quick=arguments.quick), indent=2) + "\n")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(1)
