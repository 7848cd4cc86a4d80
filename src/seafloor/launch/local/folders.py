"""Where a task's things are, below the launcher's working folder.

::

    <work_dir>/<workload>/<attempt>/code/          what is localised
                                    output/        becomes artifacts
                                    events/        tf.events files
                                    client/        what the client library has not sent
                                    stage/         empty; where a root with /code is made
                                    layers/<task>/ what a task wrote into code that it shares
                                    tasks/<task>/  the agent's folder (``seafloor.agent``)
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from seafloor.domain.errors import InvalidValue
from seafloor.domain.ids import parse_workload_id
from seafloor.domain.names import check_slug
from seafloor.launch.protocol import TaskKey


@dataclass(frozen=True)
class AttemptFolders:
    """The folders of one attempt.

    Args:
        root: ``<work_dir>/<workload>/<attempt>``.
    """

    root: Path

    @property
    def code(self) -> Path:
        """What a task sees as ``/code``."""
        return self.root / "code"

    @property
    def output(self) -> Path:
        """What becomes artifacts."""
        return self.root / "output"

    @property
    def events(self) -> Path:
        """Where tf.events files are tailed."""
        return self.root / "events"

    @property
    def client(self) -> Path:
        """Where the client library of the command keeps what it has not sent."""
        return self.root / "client"

    @property
    def stage(self) -> Path:
        """Empty; the command's own root is made here, seen by it alone."""
        return self.root / "stage"

    def layers(self, task: str) -> Path:
        """What the command writes into a tree that it shares with others."""
        return self.root / "layers" / task

    def task(self, task: str) -> Path:
        """The agent's folder."""
        return self.root / "tasks" / task

    def make(self, task: str) -> None:
        """Make them all; none but this user may look inside."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        for folder in (self.code, self.output, self.events, self.task(task)):
            folder.mkdir(parents=True, exist_ok=True)
        self.task(task).chmod(0o700)


def attempt_folders(work_dir: Path, key: TaskKey) -> AttemptFolders:
    """The folders of a task's attempt.

    Raises:
        InvalidValue: the key is none whose folder would lie below work_dir.
    """
    parse_workload_id(key.workload_id, field="workload_id")
    check_slug(key.task, field="task")
    if key.attempt < 1:
        raise InvalidValue("Attempts are numbered from 1.", field="attempt")
    return AttemptFolders(work_dir / key.workload_id / str(key.attempt))


def task_keys(work_dir: Path) -> Iterator[TaskKey]:
    """The tasks that have a folder; what is no task's folder is passed over."""
    for folder in sorted(work_dir.glob("*/*/tasks/*")):
        task, attempt, workload = folder.name, folder.parts[-3], folder.parts[-4]
        with suppress(InvalidValue):
            if attempt.isascii() and attempt.isdigit():
                key = TaskKey(parse_workload_id(workload), int(attempt), task)
                if attempt_folders(work_dir, key).task(task) == folder:
                    yield key


def remove_task(work_dir: Path, key: TaskKey) -> None:
    """Remove a task's folder, and its attempt's when no other task has one there.

    Where a task has put a link in the place of a folder of its own, the link is removed and what it
    points to is not touched.

    Raises:
        OSError: something cannot be removed.
    """
    folders = attempt_folders(work_dir, key)
    for folder in (folders.root.parent, folders.root, folders.root / "tasks"):
        if folder.is_symlink():
            folder.unlink()
    remove_tree(folders.task(key.task))
    tasks = folders.root / "tasks"
    if tasks.is_dir() and any(tasks.iterdir()):
        return
    remove_tree(folders.root)
    with suppress(OSError):  # other attempts are there, or it is gone already
        folders.root.parent.rmdir()


def remove_tree(folder: Path) -> None:
    """Remove a folder, whatever rights to it a task has taken away."""
    if folder.is_symlink():
        folder.unlink()
        return
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        if folder.exists():
            raise
    except PermissionError:
        _open_up(folder)
        shutil.rmtree(folder)


def _open_up(folder: Path) -> None:
    folder.chmod(0o700)
    for parent, names, _ in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            if not path.is_symlink():
                path.chmod(0o700)
