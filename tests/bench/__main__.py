"""``make bench``: comparisons with peers and scaling laws. Prints tables; quotes ratios only.

Each comparison starts both sides itself, alternates them, repeats, and prints median, minimum
and maximum with the machine's load. ``python -m tests.bench start append`` runs those only.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))


def main(wanted: list[str]) -> int:
    """Run the benchmarks named, or all."""
    known = sorted(file.stem.removeprefix("bench_") for file in HERE.glob("bench_*.py"))
    unknown = set(wanted) - set(known)
    if unknown:
        sys.stderr.write(
            f"error: no benchmark {', '.join(unknown)}; there are {', '.join(known)}\n"
        )
        return 2
    load = " ".join(f"{value:.2f}" for value in os.getloadavg())
    print(f"{os.cpu_count()} processors, load {load}, Python {sys.version.split()[0]}")
    for name in wanted or known:
        print(f"\n== {name}")
        importlib.import_module(f"tests.bench.bench_{name}").run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
