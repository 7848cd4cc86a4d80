"""Reads a repository of Aim with Aim itself; run as a file by the Python that has it.

Nothing of Seafloor is imported here, so that Aim's environment needs nothing of ours. Asked on
stdin, a line each: ``runs``, ``points HASH``, ``things HASH``, ``logs HASH``. Answered on stdout,
a JSON document a line, and ``null`` at the end of each answer; bytes are base64. Runs are read from
their own chunks: the index that Aim reads may be behind, or was never made.
"""

from __future__ import annotations

import base64
import importlib
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

Line = dict[str, Any]

_INFINITY = float("inf")

KINDS = {
    "images": ("aim.image", "list(aim.image)"),
    "texts": ("aim.text", "list(aim.text)"),
    "distributions": ("aim.distribution",),
    "audios": ("aim.audio", "list(aim.audio)"),
    "figures": ("aim.figure",),
}
"""What a run tracks beside numbers, and Aim's names of the types of its values."""


class Repository:
    """A repository."""

    def __init__(self, path: str) -> None:
        self._aim: Any = importlib.import_module("aim")
        self._sdk: Any = importlib.import_module("aim.sdk.repo")
        self._repo: Any = self._aim.Repo(path)
        self._held: Any = None

    def _open(self, run_hash: str) -> Any:
        self._held = self._repo.request_container("meta", run_hash, read_only=True)
        whole = self._sdk.ContainerConfig("meta", None, read_only=True)
        self._repo.container_pool[whole] = self._held
        return self._aim.Run(run_hash, repo=self._repo, read_only=True)

    def runs(self) -> Iterator[Line]:
        """All runs."""
        for run_hash in sorted(self._repo.list_all_runs()):
            for line in guarded(self._run, run_hash):  # one that is damaged stops no other
                yield {"hash": run_hash, **line}

    def _run(self, run_hash: str) -> Iterator[Line]:
        run = self._open(run_hash)
        yield {
            "name": run.name or "",
            "experiment": run.experiment or "",
            "description": run.description or "",
            "tags": list(run.tags),
            "archived": bool(run.archived),
            "created_s": finite(run.creation_time),
            "ended_s": finite(run.end_time),
            "has_logs": run.get_terminal_logs() is not None,
            "params": plain(run.meta_run_tree.get("attrs", {})),
            "artifacts": {
                str(name): str(one.storage["uri"])
                for name, one in run.meta_run_tree.get("artifacts", {}).items()
            },
        }

    def points(self, run_hash: str) -> Iterator[Line]:
        """The points of a run: for each series its name and context, and then columns."""
        run = self._open(run_hash)
        for name, context, _ in run.iter_metrics_info():
            steps, (values, epochs, times) = run.get_metric(name, context).data.items_list()
            for first in range(0, len(steps), 10_000):
                part = slice(first, first + 10_000)
                yield {
                    "name": name,
                    "context": context.to_dict(),
                    "steps": steps[part],
                    "values": [repr(float(value)) for value in values[part]],
                    "epochs": [finite(epoch) for epoch in epochs[part]],
                    "times_s": [finite(time_s) or 0.0 for time_s in times[part]],
                }

    def things(self, run_hash: str) -> Iterator[Line]:
        """What a run tracked beside numbers."""
        run = self._open(run_hash)
        for kind, types in KINDS.items():
            for name, context, _ in run.iter_sequence_info_by_type(types):
                sequence = run._get_sequence(kind, name, context)
                said = {"kind": kind, "name": name, "context": context.to_dict()}
                for line in things_of(sequence):
                    yield {**said, **line}

    def logs(self, run_hash: str) -> Iterator[Line]:
        """What a run printed, line by line."""
        found = self._open(run_hash).get_terminal_logs()
        if found is not None:
            yield from things_of(found)


def things_of(sequence: Any) -> Iterator[Line]:
    """Everything in a sequence; of what was tracked together each by its place."""
    for step, (value, _, time_s) in sequence.data.items():
        found: Any = value
        some: list[Any] = [*found] if isinstance(value, list) else [found]
        for place, one in enumerate(some):
            yield {"step": step, "time_s": finite(time_s) or 0.0, "place": place, **told(one)}


def told(one: Any) -> Line:
    """What an object of Aim holds."""
    storage = one.storage
    reach = storage.get("range", None)
    if reach is not None:
        low, high = reach
        counts = [float(count) for count in one.weights]
        if None in map(finite, (low, high, *counts)):
            return {}
        width = (high - low) / len(counts)
        return {"edges": [low + n * width for n in range(len(counts))] + [high], "counts": counts}
    data = storage["data"].load()
    if isinstance(data, str):
        return {"text": data}
    caption = storage.get("caption", "") or ""
    return {"data": base64.b64encode(bytes(data)).decode(), "caption": str(caption)}


def finite(value: Any) -> float | None:
    """A number that JSON has; None: it is none."""
    number = None if value is None else float(value)
    return number if number is not None and abs(number) < _INFINITY else None


def plain(value: Any) -> Any:
    """A value as JSON can say it; objects of Aim as what they are called."""
    inner: Any = value
    if isinstance(value, dict):
        return {str(key): plain(inner[key]) for key in inner}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in inner]
    if isinstance(value, float) and (value != value or value in (_INFINITY, -_INFINITY)):
        return str(value)  # JSON has none of these
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)


def guarded(read: Callable[..., Iterator[Line]], *arguments: str) -> Iterator[Line]:
    """What is read, and at last what went wrong, as Aim says it."""
    try:
        yield from read(*arguments)
    except Exception as error:  # noqa: BLE001 - said to whoever asks
        yield {"error": f"{type(error).__name__}: {error}"}


def main(path: str) -> None:
    """Answer until there are no more questions."""
    answers = sys.stdout
    sys.stdout = sys.stderr  # what Aim prints is no answer
    repositories: list[Repository] = []

    def opened() -> Iterator[Line]:
        repositories.append(Repository(path))
        yield from ()

    def answer(what: str, *arguments: str) -> Iterator[Line]:
        yield from getattr(repositories[0], what)(*arguments)

    lines = guarded(opened)
    while True:
        for line in lines:
            print(json.dumps(line), file=answers)
        print("null", file=answers, flush=True)
        question = sys.stdin.readline().split()
        if not question:
            return
        lines = guarded(answer, *question)


if __name__ == "__main__":
    main(sys.argv[1])
