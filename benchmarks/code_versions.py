"""Code versions of 2,000 assets in a new process: at most 0.3 s with the cache of unchanged files.

    python benchmarks/code_versions.py [--assets 2000] [--rounds 5]

The yardstick of the same run is parsing the same files with `ast`, which the cache saves.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

MEASURE = """
import ast, time
from pathlib import Path
from assets_core import Project
project = Project.from_module("definitions")
project.config, project.io
began = time.perf_counter()
count = len(project.codes)
took = time.perf_counter() - began
began = time.perf_counter()
for path in Path("definitions").glob("*.py"):
    ast.parse(path.read_text())
print(count, took, time.perf_counter() - began)
"""


def write(folder: Path, assets: int) -> None:
    """Modules of 50 assets, each calling two helpers of fifty."""
    package = folder / "definitions"
    package.mkdir()
    (package / "__init__.py").touch()
    helpers = (f"def h{i}(x):\n    return x * {i} + FACTOR\n" for i in range(50))
    (package / "common.py").write_text("FACTOR = 3\n\n" + "\n".join(helpers))
    for module in range(assets // 50):
        made = (
            f"@asset(partitions=D)\ndef a{module}_{i}(partition: Partition) -> pa.Table:\n"
            f"    rows = []\n    for k in range({i}):\n        if k % 2 == 0:\n"
            f"            rows.append(h{i}(k))\n        else:\n"
            f"            rows.append(common.h{(i + 1) % 50}(k))\n"
            f"    return pa.table({{'v': [sum(rows) + {module}]}})\n"
            for i in range(50)
        )
        head = (
            "import pyarrow as pa\nfrom assets_core import asset, daily, Partition\n"
            "from definitions.common import *\nfrom definitions import common\n"
            "D = daily('2024-01-01', end='2024-02-01')\n\n"
        )
        (package / f"m{module}.py").write_text(head + "\n".join(made))


def measure(folder: Path) -> tuple[float, float]:
    """Seconds for the code versions, and for parsing the same files."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE], cwd=folder, capture_output=True, text=True, check=True
    )
    _, took, parsing = done.stdout.split()
    return float(took), float(parsing)


def main() -> None:
    """Print seconds without and with the cache, and ratios to parsing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--assets", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, options.assets)
        first, parsing = measure(folder)
        print(f"{options.assets:,} assets, nothing cached: {first:.2f} s, {first / parsing:.1f} x")
        found = [measure(folder) for _ in range(options.rounds)]
    took = statistics.median(one for one, _ in found)
    parsing = statistics.median(two for _, two in found)
    print(f"files unchanged: {took:.2f} s, {took / parsing:.2f} x parsing them ({parsing:.2f} s)")
    print("goal: 0.3 s")


if __name__ == "__main__":
    main()
