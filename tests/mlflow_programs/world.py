"""Programs against the mlflow client: each is run on two servers, and what it gives is compared.

A program gets a ``World`` and returns what the client gave it, entities and all. Nothing of mlflow
is imported before a world is made, so the tests can name the programs without having it.
"""

from __future__ import annotations

import math
import re
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

T = 1_700_000_000_000
NOBODY = "0" * 32
MORE = "More is understood than MLflow understands."
STRICT = "What cannot be read as a whole is refused; MLflow reads a part of it."
_DAY_MS = 86_400_000
_DIGITS_MAX = 5
_HEX_ID = re.compile(r"\b(?:m-)?[0-9a-f]{32}\b")
_LOCATION = re.compile(r"mlflow-artifacts:/+(?:workspaces/[^/]+/)?(\d+)")
_EXPERIMENT = re.compile(r"((?:[Ee]xperiment|\bid|ID)[ =:'\"]+)(\d+)\b")
_OWN_TAGS = frozenset({"mlflow.user"})
"""Each run of ours tells its user as a tag."""
_OWN_FIELDS = frozenset({"workspace", "effective_trace_archival_retention"})


class Program(NamedTuple):
    """A program; ``differs`` says why its outcomes do."""

    run: Callable[[World], Any]
    differs: str


PROGRAMS: dict[str, Program] = {}
_SHARED: dict[Callable[[World], str], str] = {}


def program(differs: str = "") -> Callable[[Callable[[World], Any]], Callable[[World], Any]]:
    """Note a program under its name."""

    def note(function: Callable[[World], Any]) -> Callable[[World], Any]:
        assert function.__name__ not in PROGRAMS, function.__name__
        PROGRAMS[function.__name__] = Program(function, differs)
        return function

    return note


class World:
    """The client, and what the programs make with it.

    Args:
        name: Of the program; experiments are called after it.
    """

    def __init__(self, name: str) -> None:
        import mlflow
        import mlflow.entities

        self.mlflow: Any = mlflow
        self.entities: Any = mlflow.entities
        self.client: Any = mlflow.MlflowClient()
        self._name = name
        self._made = 0
        self._ids: dict[str, str] = {}
        self._began_ms = int(time.time() * 1000) - _DAY_MS

    def name(self, suffix: str = "") -> str:
        """A new name for an experiment."""
        self._made += 1
        return f"{self._name} {self._made}{suffix}"

    def experiment(self, **more: Any) -> str:
        """A new experiment's id."""
        return self.client.create_experiment(self.name(), **more)

    def run(self, experiment_id: str | None = None, run_name: str = "r", **more: Any) -> str:
        """A new run's id, in an experiment of its own unless one is named."""
        into = experiment_id or self.experiment()
        return self.client.create_run(into, run_name=run_name, **more).info.run_id

    def model(self, experiment_id: str | None = None, name: str = "model", **more: Any) -> Any:
        """A new logged model."""
        into = experiment_id or self.experiment()
        return self.client.create_logged_model(into, name=name, **more)

    def metric(self, key: str, value: float, step: int = 0, timestamp: int = T) -> Any:
        return self.entities.Metric(key, value, timestamp, step)

    def params(self, **values: str) -> list[Any]:
        return [self.entities.Param(key, value) for key, value in values.items()]

    def tags(self, **values: str) -> list[Any]:
        return [self.entities.RunTag(key, value) for key, value in values.items()]

    def dataset(self, name: str, digest: str = "d", context: str = "", **more: Any) -> Any:
        """A dataset as an input of a run."""
        tags = [self.entities.InputTag("mlflow.data.context", context)] if context else []
        more = {"source_type": "local", "source": "s"} | more
        return self.entities.DatasetInput(self.entities.Dataset(name, digest, **more), tags)

    def folder(self, **files: str) -> Path:
        """A new folder with files; ``__`` in a name stands for a slash."""
        made = Path(tempfile.mkdtemp())
        for name, text in files.items():
            path = made / (name.replace("__", "/") + ".txt")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return made

    def refused(self, call: Callable[..., Any], *args: Any, **more: Any) -> Any:
        """How a call is refused, or what it gave."""
        try:
            return {"given": call(*args, **more)}
        except Exception as error:  # noqa: BLE001  # whatever it is, it is compared
            return refusal(error)

    def each(self, call: Callable[[Any], Any], values: Iterable[Any]) -> list[Any]:
        """How a call goes for each of some values."""
        return [self.refused(call, value) for value in values]

    def shared(self, build: Callable[[World], str]) -> str:
        """The id of an experiment that several programs only read."""
        if build not in _SHARED:
            _SHARED[build] = build(self)
        return _SHARED[build]

    def end(self) -> None:
        """End what a program left running."""
        while self.mlflow.active_run() is not None:
            self.mlflow.end_run()

    def plain(self, found: Any, key: str = "") -> Any:
        """What was found as plain data, without what differs between any two servers."""
        if isinstance(found, bool) or found is None:
            return found
        if isinstance(found, float):
            return found if math.isfinite(found) else str(found)
        if isinstance(found, int):
            return "now" if found > self._began_ms else found
        if isinstance(found, str):
            return self._named(found, key)
        if isinstance(found, dict):
            return {
                self._named(str(name), ""): self.plain(value, str(name))
                for name, value in found.items()
                if name not in _OWN_TAGS
            }
        if isinstance(found, set | frozenset):
            return sorted(self.plain(one) for one in found)
        if getattr(found, "token", None) is not None:
            return {"page": [self.plain(one) for one in found], "more": bool(found.token)}
        if isinstance(found, list | tuple):
            return [self.plain(one) for one in found]
        return self._entity(found)

    def _entity(self, found: Any) -> Any:
        if hasattr(found, "to_dictionary") and hasattr(found, "model_id"):  # a logged model
            shown = found.to_dictionary()
        elif hasattr(found, "_properties"):
            shown = dict(found)
        else:
            return str(found)
        if type(found).__name__ in ("RunData",):
            shown.pop("_metric_objs", None)
        kept = {name: value for name, value in shown.items() if name not in _OWN_FIELDS}
        return self.plain(kept)

    def _named(self, text: str, key: str) -> str:
        """A text with names in the place of ids."""
        text = _HEX_ID.sub(lambda id_: self._id(id_[0]), text)
        text = _LOCATION.sub(lambda at: f"mlflow-artifacts:/{self._experiment(at[1])}", text)
        text = _EXPERIMENT.sub(lambda at: at[1] + self._experiment(at[2]), text)
        if key.endswith("experiment_id") and text.isdigit():
            text = self._experiment(text)
        return text

    def _experiment(self, number: str) -> str:
        """A name in the place of an experiment's id; no server has the longest ones."""
        return number if number == "0" or len(number) > _DIGITS_MAX else self._id(f"of {number}")

    def _id(self, found: str) -> str:
        if found == NOBODY:
            return found
        return self._ids.setdefault(found, f"<{len(self._ids) + 1}>")


def refusal(error: BaseException) -> dict[str, Any]:
    """What is compared of an error."""
    return {
        "class": type(error).__name__,
        "code": getattr(error, "error_code", None),
        "message": str(error),
    }


def names(runs: Iterable[Any]) -> list[str]:
    """The names of runs."""
    return [run.info.run_name for run in runs]
