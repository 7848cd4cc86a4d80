"""Locks whose holder gives signs of life, so that nobody waits for one that was stopped.

A lock ends with the process that holds it, but not with one that is frozen: by ``docker pause``, a
signal, a debugger or a machine that sleeps while its disk is others' too. Who holds a lock of these
touches its file every few seconds, whatever else it does; who waits looks at that, and at nobody's
clock but its own.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from seafloor.code.files import try_locked
from seafloor.domain.errors import SourceError

SIGN_S: Final = 5.0
"""Between two signs of life of a holder."""

SILENT_S: Final = 120.0
"""A holder that gave none for so long is not waited for."""

SAY_AGAIN_S: Final = 60.0
"""Between two words about a wait."""

_LOOK_S: Final = 0.1


@dataclass(frozen=True)
class Wait:
    """What is said of waiting for a lock.

    Args:
        holder: Who else has it, as ``"another fetch of https://…"``.
        progress: Told, again and again while it lasts.
    """

    holder: str
    progress: Callable[[str], None]


@contextmanager
def locked_alive(
    path: Path, wait: Wait, *, shared: bool = False, stays: bool = True
) -> Generator[None]:
    """Hold a lock as ``files.locked`` does, and give signs of life meanwhile.

    Args:
        path: The lock's file.
        wait: What is said when somebody else holds it.
        shared: Whether other shared holders may hold it at the same time.
        stays: Whether the file is left behind.

    Raises:
        SourceError: nobody who holds it has given a sign of life for ``SILENT_S``.
    """
    patience: _Patience | None = None
    while True:
        with try_locked(path, shared=shared) as descriptor:
            if descriptor is not None:
                with _signs_of_life(descriptor):
                    try:
                        yield
                    finally:
                        if not stays:
                            path.unlink(missing_ok=True)
                return
        if patience is None:
            patience = _Patience(path, wait)
        patience.look()
        time.sleep(_LOOK_S)


@contextmanager
def locked_alive_if_free(path: Path) -> Generator[bool]:
    """Hold a lock alone, as ``locked_alive``, unless somebody else holds it.

    Yields:
        Whether it is held.
    """
    with try_locked(path) as descriptor:
        if descriptor is None:
            yield False
            return
        with _signs_of_life(descriptor):
            yield True


@dataclass
class _Patience:
    """How long we have waited, and when the holder was last seen to live."""

    path: Path
    wait: Wait
    begun_s: float = field(default_factory=time.monotonic)
    _sign: tuple[int, int] | None = None
    _sign_s: float = 0.0
    _said_s: float | None = None

    def look(self) -> None:
        now_s = time.monotonic()
        sign = self._last_sign()
        if sign != self._sign:
            self._sign, self._sign_s = sign, now_s
        if now_s - self._sign_s >= SILENT_S:
            raise SourceError(
                f"Waited for {self.wait.holder}, which has given no sign of life for "
                f"{SILENT_S:.0f} s: its process was stopped, or its machine or container is "
                f'frozen. Let it go on or end it (fuser -v "{self.path}" tells which it is), then '
                "try again."
            )
        if self._said_s is None:
            self.wait.progress(f"waiting for {self.wait.holder}")
            self._said_s = now_s
        elif now_s - self._said_s >= SAY_AGAIN_S:
            waited_s = now_s - self.begun_s
            self.wait.progress(f"still waiting for {self.wait.holder}, for {waited_s:.0f} s now")
            self._said_s = now_s

    def _last_sign(self) -> tuple[int, int] | None:
        try:
            status = self.path.stat()
        except FileNotFoundError:  # removed by its holder: the next look is at another
            return None
        return status.st_ino, status.st_mtime_ns


@contextmanager
def _signs_of_life(descriptor: int) -> Generator[None]:
    ended = threading.Event()

    def give() -> None:
        while not ended.wait(SIGN_S):
            os.utime(descriptor)

    os.utime(descriptor)  # from now on a wait for us begins
    thread = threading.Thread(target=give, name="signs of life", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
