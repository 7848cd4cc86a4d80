"""Handlers of signals at every moment: Python runs them between two of its instructions."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

INSTRUCTIONS_MAX = 5_000


@contextmanager
def signal_at(
    instruction: int, handler: Callable[[], None], *modules: ModuleType
) -> Iterator[list[str]]:
    """Have a handler run before an instruction of modules, counted from 0; gives where it ran."""
    files = {module.__file__ for module in modules}
    left = instruction
    ran: list[str] = []

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if frame.f_code.co_filename not in files:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and not ran:
            if left == 0:
                ran.append(f"{frame.f_code.co_qualname}:{frame.f_lineno}")
                handler()
            left -= 1
        return trace

    traced = sys.gettrace()
    sys.settrace(trace)
    try:
        yield ran
    finally:
        sys.settrace(traced)


def every_instruction(folder: Path) -> Iterator[tuple[int, Path]]:
    """The instructions of a call, each with a folder of its own; the caller ends it."""
    for instruction in range(INSTRUCTIONS_MAX):
        yield instruction, folder / str(instruction)
    raise AssertionError("the call does not end")
