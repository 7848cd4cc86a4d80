"""Reads the file of a run with wandb's own reader and messages; run by an older wandb's Python.

``python wandb_reader.py FILE`` prints the points of its history: [key, step, value, time in ms].
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import wandb
from wandb.proto import wandb_internal_pb2
from wandb.sdk.internal import datastore


def numbers(name: str, value: Any) -> Iterator[tuple[str, float]]:
    """The numbers under a key."""
    if isinstance(value, dict) and "_type" not in value:
        for key, inner in value.items():
            yield from numbers(f"{name}.{key}", inner)
    elif isinstance(value, (bool, int, float)):
        yield name, value


def points(path: str) -> list[list[Any]]:
    """Every item of the history whose value is a number."""
    wandb._set_internal_process()
    store = datastore.DataStore()
    store.open_for_scan(path)
    found: list[list[Any]] = []
    while (data := store.scan_data()) is not None:
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") != "history":
            continue
        items = {
            (tuple(item.nested_key) or (item.key,)): json.loads(item.value_json)
            for item in record.history.item
        }
        step, time_ms = items.pop(("_step",)), round(items.pop(("_timestamp",)) * 1000)
        items.pop(("_runtime",))
        for key, value in items.items():
            for name, number in numbers(".".join(key), value):
                found.append([name, step, repr(float(number)), time_ms])
    return found


if __name__ == "__main__":
    print(json.dumps(points(sys.argv[1])))
