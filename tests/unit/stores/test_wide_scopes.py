"""Which scopes are still known to be wide."""

from __future__ import annotations

import tracemalloc

from msgspec.structs import replace

from seafloor.domain.search import WorkloadQuery
from seafloor.domain.search_grammar import parse_filter, parse_order
from seafloor.stores.metadata.sql.ways import Scope, flattened
from seafloor.stores.metadata.sql.wide_scopes import KNOWN_FOR_S, SCOPES_MAX, WideScopes


class Clock:
    """Goes on when told to."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def scope_of(query: WorkloadQuery) -> Scope:
    return Scope(query, flattened(query.filter))


ADAM = WorkloadQuery(experiment_ids=(1,), filter=parse_filter("params.p = 'adam'"))


def test_contains__same_ways__is_known_whatever_the_order_and_the_page() -> None:
    wide = WideScopes(Clock())
    assert scope_of(ADAM) not in wide
    wide.add(scope_of(ADAM))
    page = replace(ADAM, limit=7, cursor="x", order=(parse_order("metrics.m"),))
    assert scope_of(page) in wide


def test_contains__other_ways__are_unknown() -> None:
    wide = WideScopes(Clock())
    wide.add(scope_of(ADAM))
    others = [
        replace(ADAM, experiment_ids=(2,)),
        replace(ADAM, experiment_ids=None),
        replace(ADAM, filter=parse_filter("params.p = 'sgd'")),
        replace(ADAM, filter=None),
    ]
    assert not [one for one in others if scope_of(one) in wide]
    assert Scope(ADAM, flattened(ADAM.filter), nans=("m",)) not in wide


def test_contains__after_a_while__is_forgotten() -> None:
    clock = Clock()
    wide = WideScopes(clock)
    wide.add(scope_of(ADAM))
    clock.now_s = KNOWN_FOR_S - 1
    assert scope_of(ADAM) in wide
    clock.now_s = KNOWN_FOR_S
    assert scope_of(ADAM) not in wide
    wide.add(scope_of(ADAM))
    assert scope_of(ADAM) in wide


def test_add__more_than_are_kept__the_first_is_forgotten() -> None:
    wide = WideScopes(Clock())
    scopes = [scope_of(replace(ADAM, experiment_ids=(number,))) for number in range(SCOPES_MAX)]
    for scope in scopes:
        wide.add(scope)
    wide.add(scopes[0])  # again: it is not the first any more
    wide.add(scope_of(replace(ADAM, experiment_ids=(SCOPES_MAX,))))
    assert scopes[0] in wide
    assert scopes[1] not in wide
    assert scopes[2] in wide


def test_add__queries_that_name_thousands_of_experiments__take_little_memory() -> None:
    wide = WideScopes(Clock())
    tracemalloc.start()
    try:
        for number in range(SCOPES_MAX):
            ids = tuple(range(number * 2_000, number * 2_000 + 2_000))
            wide.add(scope_of(replace(ADAM, experiment_ids=ids)))
        kept_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept_bytes < 100 * SCOPES_MAX + 1_000_000
