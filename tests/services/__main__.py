"""``make services``: the real servers that tests use, on loopback and free ports, until Ctrl-C.

Each is a module here with a ``service()`` context manager that gives a ``Service`` once it
answers. Tests start their own; those that are here can be lent to them with the variable that is
printed. State lies in temporary folders. With ``--check`` they are stopped as soon as all answer:
what they are made of is fetched then, and it is known which this machine lacks.
"""

from __future__ import annotations

import argparse
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

from tests.services._service import Missing
from tests.services._supervisor import SOCKET_VARIABLE, Supervisor, ask, names

AT_ONCE = 3
"""So many start at the same time: all together need more than their patience on two cores."""


def main(arguments: list[str]) -> int:
    """Start services (all, unless some are named), say where each is, wait, and stop them."""
    parser = argparse.ArgumentParser(prog="python -m tests.services", description=__doc__)
    parser.add_argument("services", nargs="*", metavar="NAME", help=", ".join(names()))
    parser.add_argument("--check", action="store_true", help="stop as soon as all answer")
    given = parser.parse_args(arguments)
    if unknown := set(given.services).difference(names()):
        parser.error(f"there is no service {', '.join(sorted(unknown))}: {', '.join(names())}")
    # A TERM ends this like Ctrl-C does, so that nothing is left behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    supervisor = Supervisor()
    failed = False
    try:
        supervisor.wait_ready()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for told, ok in pool.map(
                lambda name: _told(supervisor, name), given.services or names()
            ):
                failed = failed or not ok
                print(told, flush=True)
        if not given.check:
            print(f"Tests use these with {SOCKET_VARIABLE}={supervisor.socket}")
            print("Ctrl-C stops them.", flush=True)
            signal.pause()
    except KeyboardInterrupt:
        print("stopped")
    finally:
        supervisor.close()
    return int(failed)


def _told(supervisor: Supervisor, name: str) -> tuple[str, bool]:
    try:
        service = ask(supervisor.socket, name)
    except Missing as error:
        return f"{name:16s} not on this machine: {error}", True
    except RuntimeError as error:
        return f"{name:16s} did not start: {error}", False
    lines = [f"{name:16s} {service.url}  ({service.name})"]
    lines += [f"{'':16s} {key}={value}" for key, value in service.env.items()]
    if service.note:
        lines.append(f"{'':16s} {service.note}")
    return "\n".join(lines), True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
