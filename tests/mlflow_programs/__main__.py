"""Run every program, or those named, against ``MLFLOW_TRACKING_URI``; the outcomes as JSON."""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path

from mlflow_programs import PROGRAMS
from mlflow_programs.world import World, refusal


def main() -> None:
    found = {}
    for name in sys.argv[2:] or PROGRAMS:
        world = World(name)
        try:
            found[name] = world.plain(PROGRAMS[name].run(world))
        except Exception as error:  # noqa: BLE001  # what a program dies of is compared, too
            traceback.print_exc()
            found[name] = world.plain({"raised": refusal(error)})
        finally:
            world.end()
    Path(sys.argv[1]).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
