"""``make services``: the real servers that tests use, on loopback and free ports, until Ctrl-C.

Each is a module here with a ``service()`` context manager that gives its name and address once it
answers. Tests start their own; this is for trying things by hand. State lies in temporary folders.
"""

from __future__ import annotations

import importlib
import signal
import sys
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def main() -> int:
    """Start every service, say where each is, wait, and stop them again."""
    # A TERM ends this like Ctrl-C does, so that nothing is left behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    modules = sorted(
        file.stem for file in Path(__file__).parent.glob("*.py") if not file.stem.startswith("_")
    )
    try:
        with ExitStack() as stack:
            for module in modules:
                service = importlib.import_module(f"tests.services.{module}").service
                name, address = stack.enter_context(service())
                print(f"{name:24s} {address}", flush=True)
            print("Ctrl-C stops them.", flush=True)
            signal.pause()
    except KeyboardInterrupt:
        print("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
