"""A program that is ended when we are, also when nobody leaves us the time to end it.

Of a process that is killed the children go on. Git's would, for as long as their server lets them:
they hold the line, and write where the next fetch does. A signal at the end of a parent reaches
its children only, not theirs (``git-remote-https``, ``index-pack``, ``ssh``); so a shell waits for
the end of a pipe whose other end only we have, and then ends the whole group.
"""

from __future__ import annotations

import subprocess
from types import TracebackType
from typing import IO, Final, Self, cast

_WAIT: Final = 'read -r group && { read -r _; kill -s KILL -- "-$group"; }'
"""Reading ends with our life: nothing more is ever said."""


class Leash:
    """Ends a process group when this process ends while the context lasts.

    Begin it before the group: only in the moment between its start and ``hold`` is it free.
    """

    def __enter__(self) -> Self:
        self._watcher = subprocess.Popen(
            ["/bin/sh", "-c", _WAIT],
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # It must not be ended with us, when our own group is.
            start_new_session=True,
        )
        return self

    def hold(self, group: int) -> None:
        """Say which group it is."""
        pipe = cast("IO[bytes]", self._watcher.stdin)
        pipe.write(b"%d\n" % group)
        pipe.flush()

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        with self._watcher:
            # First: it would end a group that may be another's by now.
            self._watcher.kill()
