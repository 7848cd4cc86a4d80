"""Where a task's things are, below the launcher's working folder.

::

    <work_dir>/<workload>/<attempt>/code/          what is localised
                                    output/        becomes artifacts
                                    events/        tf.events files
                                    client/        what the client library has not sent
                                    stage/         empty; where a root with /code is made
                                    layers/<task>/ what a task wrote into code that it shares
                                    tasks/<task>/  the agent's folder (``seafloor.agent``)
                                    uses/          empty; while it is there, the caches keep the
                                                   code and the environments of the attempt

Each task of a distributed run has ``code`` to ``stage`` for itself, below ``apart/<task>/``; beside
these the attempt has ``ports.json``. What such a task leaves is below its name in ``output`` and
``events``, so that two files of one name stay two.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from seafloor.code.files import remove_leftover
from seafloor.code.removal import remove_tree
from seafloor.domain.errors import InvalidValue
from seafloor.domain.ids import WorkloadId, parse_workload_id
from seafloor.domain.members import MAIN
from seafloor.domain.names import check_slug
from seafloor.launch.protocol import TaskKey

_KEPT_FILE: Final = "kept"
"""In the folder of a task whose folders nobody removes."""

FORGOTTEN_FILE: Final = "forgotten"
"""In the folder of a task whose workload was purged; a person may put it there too."""


@dataclass(frozen=True)
class AttemptFolders:
    """The folders of one task, and of its attempt.

    Args:
        root: ``<work_dir>/<workload>/<attempt>``.
        task: Whose.
    """

    root: Path
    task: str = MAIN

    @property
    def own(self) -> Path:
        """What no other task of the attempt looks into."""
        return self.root if self.task == MAIN else self.root / "apart" / self.task

    @property
    def code(self) -> Path:
        """What the task sees as ``/code``."""
        return self.own / "code"

    @property
    def output(self) -> Path:
        """What becomes artifacts."""
        return self.own / "output"

    @property
    def events(self) -> Path:
        """Where tf.events files are tailed."""
        return self.own / "events"

    @property
    def client(self) -> Path:
        """Where the client library of the command keeps what it has not sent."""
        return self.own / "client"

    @property
    def stage(self) -> Path:
        """Empty; the command's own root is made here, seen by it alone."""
        return self.own / "stage"

    @property
    def layers(self) -> Path:
        """What the command writes into a tree that it shares with others."""
        return self.root / "layers" / self.task

    @property
    def uses(self) -> Path:
        """As long as it is there, code and environments of the attempt are in use."""
        return self.root / "uses"

    @property
    def agent(self) -> Path:
        """The agent's folder."""
        return self.root / "tasks" / self.task

    @property
    def is_kept(self) -> bool:
        """Whether what the task left stays, since nobody could deliver it."""
        return (self.agent / _KEPT_FILE).exists()

    @property
    def is_forgotten(self) -> bool:
        """Whether the task's workload was purged."""
        return (self.agent / FORGOTTEN_FILE).exists()

    def written_to(self, folder: Path) -> Path:
        """Where in ``output`` or ``events`` the command writes."""
        return folder if self.task == MAIN else folder / self.task

    def make(self) -> None:
        """Make them all; none but this user may look inside."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        written = (self.written_to(self.output), self.written_to(self.events))
        for folder in (self.code, *written, self.agent, self.uses):
            folder.mkdir(parents=True, exist_ok=True)
        self.agent.chmod(0o700)


def attempt_folders(work_dir: Path, key: TaskKey) -> AttemptFolders:
    """The folders of a task's attempt.

    Raises:
        InvalidValue: the key is none whose folder would lie below work_dir.
    """
    parse_workload_id(key.workload_id, field="workload_id")
    check_slug(key.task, field="task")
    if key.attempt < 1:
        raise InvalidValue("Attempts are numbered from 1.", field="attempt")
    return AttemptFolders(work_dir / key.workload_id / str(key.attempt), key.task)


def task_keys(work_dir: Path, workload_id: WorkloadId | None = None) -> Iterator[TaskKey]:
    """The tasks that have a folder; what is no task's folder is passed over.

    Args:
        workload_id: Of one workload only.
    """
    for folder in sorted(work_dir.glob(f"{workload_id or '*'}/*/tasks/*")):
        task, attempt, workload = folder.name, folder.parts[-3], folder.parts[-4]
        with suppress(InvalidValue):
            if attempt.isascii() and attempt.isdigit():
                key = TaskKey(parse_workload_id(workload), int(attempt), task)
                if attempt_folders(work_dir, key).agent == folder:
                    yield key


def bare_attempts(work_dir: Path) -> Iterator[TaskKey]:
    """Attempts of which there is a folder and no task's in it, each as its main task.

    One that is being prepared is such, and one whose command removed what was its own.
    """
    for root in sorted(work_dir.glob("*/*")):
        with suppress(InvalidValue):
            if root.name.isascii() and root.name.isdigit() and not root.is_symlink():
                key = TaskKey(parse_workload_id(root.parent.name), int(root.name), MAIN)
                if attempt_folders(work_dir, key).root == root and not _tasks_of(root):
                    yield key


def keep_task(work_dir: Path, key: TaskKey) -> None:
    """Keep what of a task could still be delivered: its log, output, events and client spool.

    Its code goes, with what its command wrote there: that is not delivered of any task. What of it
    cannot be removed is left, and so is what lies behind a link in the place of a folder. One task
    of an attempt at a time.

    Raises:
        OSError: not even a name can be written.
    """
    folders = attempt_folders(work_dir, key)
    (folders.agent / _KEPT_FILE).touch()  # an empty file: the disk may be what is full
    _end_uses(folders.root)
    if not any(_links_in_place_of(folders)):
        for folder in (folders.code, folders.stage, folders.layers):
            remove_leftover(folder)


def forget_task(work_dir: Path, key: TaskKey) -> None:
    """Note that the workload of a task was purged; nothing where the task has no folder any more.

    Raises:
        OSError: not even a name can be written.
    """
    with suppress(FileNotFoundError, NotADirectoryError):
        (attempt_folders(work_dir, key).agent / FORGOTTEN_FILE).touch()


def _links_in_place_of(folders: AttemptFolders) -> Iterator[Path]:
    """Links that a task put where the way to its own folders goes."""
    inner = ("tasks", "apart", "layers")
    for folder in (folders.root.parent, folders.root, *(folders.root / name for name in inner)):
        if folder.is_symlink():
            yield folder


def _tasks_of(root: Path) -> list[AttemptFolders]:
    """The tasks of an attempt that have a folder."""
    try:
        return [AttemptFolders(root, folder.name) for folder in (root / "tasks").iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _end_uses(root: Path) -> None:
    """Give the caches back what an attempt used, unless a task of it may still run."""
    if all(folders.is_kept for folders in _tasks_of(root)):
        remove_leftover(AttemptFolders(root).uses)


def remove_task(work_dir: Path, key: TaskKey) -> None:
    """Remove a task's folders, and its attempt's when no other task has one there.

    One task of an attempt at a time. Where a task has put a link in the place of a folder of its
    own, the link is removed and what it points to is not touched.

    Raises:
        OSError: something cannot be removed.
    """
    folders = attempt_folders(work_dir, key)
    for link in _links_in_place_of(folders):
        link.unlink()
    if folders.own != folders.root:
        remove_tree(folders.own)
        remove_tree(folders.layers)
    remove_tree(folders.agent)
    if _tasks_of(folders.root):
        _end_uses(folders.root)
        return
    remove_tree(folders.root)
    with suppress(OSError):  # other attempts are there, or it is gone already
        folders.root.parent.rmdir()
