"""Writes and reads per second on SQLite, PostgreSQL and MariaDB, and three writing servers on one.

``python -m tests.bench.bench_databases <url> <seconds>`` is one of the three: it prints how many
writes were acknowledged.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, insert, select, text
from tests.bench.measuring import Measured, alternate, table
from tests.databases import KINDS, fresh_database_of
from tests.services import mariadb, postgresql
from tests.services._service import Service

from seafloor.domain.search import WorkloadQuery
from seafloor.domain.search_grammar import parse_filter
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metadata.sql.tables import workload
from seafloor.testing import metadata_records as records
from seafloor.testing.metadata_records import T0_NS, create, note, run_id
from seafloor.testing.metadata_worlds import SqlStoreUnderTest

ROUNDS = 3
SECONDS = 1.0
AT_ONCE = 64
RUNS = 10_000

Work = Callable[[SqlStoreUnderTest], Awaitable[object]]

_FOUND = WorkloadQuery(project="default", limit=100)
_FILTERED = WorkloadQuery(
    filter=parse_filter("tags.kind = 'seldom' AND name LIKE '%7%'"), limit=100
)


async def _append(store: SqlStoreUnderTest) -> None:
    await store.event_append(run_id(1), note())


async def _get(store: SqlStoreUnderTest) -> None:
    await store.workload_get(run_id(1))


async def _list(store: SqlStoreUnderTest) -> None:
    await store.workload_search(_FOUND)


async def _filter(store: SqlStoreUnderTest) -> None:
    await store.workload_search(_FILTERED)


async def _per_second(url: str, work: Work, *, at_once: int, seconds: float) -> float:
    store = SqlStoreUnderTest(Database(url))
    await work(store)
    done, begin = 0, time.perf_counter()

    async def go_on() -> None:
        nonlocal done
        while time.perf_counter() - begin < seconds:
            await work(store)
            done += 1

    await asyncio.gather(*(go_on() for _ in range(at_once)))
    took = time.perf_counter() - begin
    await store.close()
    return done / took


def _measured(url: str, work: Work, *, at_once: int = AT_ONCE) -> float:
    return asyncio.run(_per_second(url, work, at_once=at_once, seconds=SECONDS))


async def _fill(url: str) -> None:
    store = SqlStoreUnderTest(Database(url))
    await create(store, records.run(1))

    def fill(connection: Connection) -> None:
        row = dict(connection.execute(select(workload)).mappings().one())
        more = ({"id": run_id(n), "created_ns": T0_NS + n} for n in range(2, RUNS + 1))
        connection.execute(insert(workload), [{**row, **changes} for changes in more])

    await store.database.write(fill)
    analyze = {"sqlite": "ANALYZE", "postgresql": "ANALYZE", "mariadb": "ANALYZE TABLE workload"}
    words = analyze[url.partition(":")[0]]
    await store.database.write(lambda connection: connection.execute(text(words)).close())
    await store.close()


def _servers(url: str, count: int) -> float:
    """Writes per second of several processes together."""
    command = [sys.executable, "-m", "tests.bench.bench_databases", url, str(SECONDS)]
    path = {"PYTHONPATH": ":".join(sys.path)}
    children = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=path) for _ in range(count)
    ]
    return sum(float(child.communicate()[0]) for child in children)


def run_all(urls: dict[str, str]) -> None:
    """Measure each kind of work on each database in turn."""
    kinds: tuple[tuple[str, Work, int], ...] = (
        ("durable writes, 64 at once", _append, AT_ONCE),
        ("durable writes, one by one", _append, 1),
        ("one run by its id, 16 at once", _get, 16),
        ("newest 100 of 10,000 runs", _list, 4),
        ("100 of 10,000 by tag and name", _filter, 4),
    )
    for title, work, at_once in kinds:
        sides = {kind: partial(_measured, url, work, at_once=at_once) for kind, url in urls.items()}
        table(title, "per second", alternate(sides, rounds=ROUNDS), base="sqlite")
    url = urls["postgresql"]
    together: dict[str, Measured] = alternate(
        {f"{count} server(s)": partial(_servers, url, count) for count in (1, 3)}, rounds=ROUNDS
    )
    table("durable writes on one PostgreSQL", "per second", together, base="1 server(s)")


def run() -> None:
    """Print the tables."""
    with ExitStack() as stack:
        made: dict[str, Service] = {
            "postgresql": stack.enter_context(postgresql.service()),
            "mariadb": stack.enter_context(mariadb.service()),
        }
        urls = {
            kind: stack.enter_context(fresh_database_of(kind, made.__getitem__)) for kind in KINDS
        }
        for url in urls.values():
            asyncio.run(_fill(url))
        run_all(urls)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    print(
        asyncio.run(_per_second(sys.argv[1], _append, at_once=AT_ONCE, seconds=float(sys.argv[2])))
    )
