"""The table of runs in a real browser, on a real server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from browser import Watch
from live_server import LiveServer, wait_for

RUNS_MANY = 230


@pytest.fixture(scope="module")
def table_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server with three runs that differ."""
    server = LiveServer(tmp_path_factory.mktemp("table") / "data").start()
    for name, lr, loss, state in [
        ("amber-coral", "0.1", 0.9, "failed"),
        ("brave-otter", "0.01", 0.5, "succeeded"),
        ("calm-reef", "0.001", 0.1, "succeeded"),
    ]:
        track(server, name, params={"lr": lr, "model": "mlp"}, loss=loss, state=state)
    yield server
    server.stop()


def track(server: LiveServer, name: str, *, loss: float | None = None, **fields: Any) -> str:
    """A run that an outside client tracks."""
    state = fields.pop("state", None)
    run = server.post("/api/v1/runs", {"experiment": "digits", "name": name, **fields})["id"]
    if loss is not None:
        server.post(f"/api/v1/runs/{run}/metrics", {"points": [["loss", loss, 1, 1000]]})
    if state is not None:
        set_state(server, run, state)
    return run


def set_state(server: LiveServer, run: str, state: str) -> None:
    status, answer = server.request("PATCH", f"/api/v1/runs/{run}", {"state": state})
    assert status == 200, answer


def names(page: Page) -> list[str]:
    """Names in the table, from above."""
    rows = page.locator("[data-run]").all()
    placed = sorted(rows, key=lambda row: int(row.get_attribute("aria-rowindex") or 0))
    return [row.get_by_role("link").inner_text() for row in placed]


def open_table(page: Page, server: LiveServer, query: str = "") -> None:
    page.goto(f"{server.url}/runs{query}")
    expect(page.locator("[data-run]").first).to_be_visible()


def test_page__no_runs_yet__tells_the_first_command(server: LiveServer, page: Page) -> None:
    page.goto(server.url)
    expect(page.get_by_text("seafloor run -- python train.py")).to_be_visible()
    expect(page).to_have_url(re.compile("/runs$"))


def test_table__some_runs__shows_states_params_and_metrics(
    table_server: LiveServer, page: Page
) -> None:
    open_table(page, table_server)
    row = page.locator("[data-run]").filter(has_text="amber-coral")
    expect(row).to_contain_text("failed")
    expect(row).to_contain_text("digits")
    expect(row).to_contain_text("0.9")
    expect(page.get_by_role("columnheader", name="lr")).to_be_visible()
    assert names(page) == ["calm-reef", "brave-otter", "amber-coral"]
    expect(page).to_have_title("Runs · Seafloor")


def test_filter__expression_and_plain_words__show_what_matches(
    table_server: LiveServer, page: Page
) -> None:
    open_table(page, table_server)
    box = page.get_by_label("Filter runs")
    box.fill("metrics.loss < 0.6 and params.lr = '0.01'")
    expect(page.locator("[data-run]")).to_have_count(1)
    assert names(page) == ["brave-otter"]
    box.fill("REEF")
    expect(page.locator("[data-run]").filter(has_text="calm-reef")).to_be_visible()
    expect(page.locator("[data-run]")).to_have_count(1)
    box.fill("nothing like this")
    expect(page.get_by_text("No run matches")).to_be_visible()


def test_filter__unknown_name__shows_the_servers_words_beside_it(
    table_server: LiveServer, page: Page, watch: Watch
) -> None:
    watch.expected.append("status of 400")
    open_table(page, table_server)
    page.get_by_label("Filter runs").fill("sttate = 'failed'")
    expect(
        page.get_by_text(re.compile('"sttate" is not known.*Did you mean "state"'))
    ).to_be_visible()


def test_states__one_chosen__shows_only_those(table_server: LiveServer, page: Page) -> None:
    open_table(page, table_server)
    page.get_by_role("combobox", name="States").click()
    page.get_by_role("option", name="failed").click()
    expect(page.locator("[data-run]")).to_have_count(1)
    assert names(page) == ["amber-coral"]
    expect(page).to_have_url(re.compile("state=failed"))


def test_order__click_on_a_metric__sorts_down_then_up(table_server: LiveServer, page: Page) -> None:
    open_table(page, table_server)
    header = page.get_by_role("columnheader", name="loss")
    header.get_by_role("button").click()
    expect(header).to_have_attribute("aria-sort", "descending")
    expect(page.locator("[data-run][aria-rowindex='2']")).to_contain_text("amber-coral")
    assert names(page) == ["amber-coral", "brave-otter", "calm-reef"]
    header.get_by_role("button").click()
    expect(page.locator("[data-run][aria-rowindex='2']")).to_contain_text("calm-reef")
    assert names(page) == ["calm-reef", "brave-otter", "amber-coral"]


def test_columns__one_taken_away__stays_away_after_a_reload(
    table_server: LiveServer, page: Page
) -> None:
    open_table(page, table_server)
    page.get_by_role("button", name="Columns").click()
    page.get_by_role("checkbox", name="User").uncheck()
    page.get_by_role("checkbox", name="Environment").check()
    expect(page.get_by_role("columnheader", name="User")).to_have_count(0)
    page.reload()
    expect(page.get_by_role("columnheader", name="Environment")).to_be_visible()
    expect(page.get_by_role("columnheader", name="User")).to_have_count(0)


def test_table__run_ends_elsewhere__shows_it_and_keeps_the_selection(
    server: LiveServer, page: Page
) -> None:
    run = track(server, "swift-manta")
    open_table(page, server)
    row = page.locator(f"[data-run='{run}']")
    expect(row).to_contain_text("running")
    row.get_by_role("checkbox").check()
    set_state(server, run, "succeeded")
    expect(row).to_contain_text("succeeded")
    expect(row.get_by_role("checkbox")).to_be_checked()


def scroll_until(page: Page, sight: Locator) -> None:
    """Press End until something is seen: a key that comes while the table is drawn may be lost."""

    def look() -> bool:
        page.keyboard.press("End")
        return sight.is_visible()

    wait_for(look, what="what further pages have")


def test_table__many_runs__loads_further_pages_and_draws_only_what_is_seen(
    server: LiveServer, page: Page
) -> None:
    for number in range(RUNS_MANY):
        track(server, f"run-{number}")
    open_table(page, server)
    expect(page.get_by_text("The first 100 runs")).to_be_visible()
    page.get_by_role("region", name="Runs").focus()
    scroll_until(page, page.get_by_text(re.compile(rf"^(The first 200|{RUNS_MANY}) runs$")))
    scroll_until(page, page.get_by_text(f"{RUNS_MANY} runs", exact=True))
    page.keyboard.press("End")
    expect(page.get_by_role("link", name="run-0", exact=True)).to_be_visible()
    assert page.locator("[data-run]").count() < 80


def test_selection__two_runs__are_compared(table_server: LiveServer, page: Page) -> None:
    open_table(page, table_server)
    page.get_by_role("checkbox", name="Select amber-coral").check()
    page.get_by_role("checkbox", name="Select calm-reef").check()
    page.get_by_role("link", name="Compare").click()
    values = page.get_by_role("region", name="Values")
    expect(values.get_by_role("row", name="lr")).to_contain_text("0.001")
    expect(values.get_by_role("row", name="model")).to_be_visible()
    page.get_by_role("switch", name="Only differences").check(force=True)
    expect(values.get_by_role("row", name="model")).to_have_count(0)
    expect(values.get_by_role("row", name="lr")).to_be_visible()
    page.get_by_role("tab", name="Charts").click()
    chart = page.locator("figure[data-metric='loss']")
    expect(chart).to_have_attribute("data-points", "2")
    expect(chart.locator("canvas")).to_be_visible()


def test_selection__deleted__is_asked_for_and_gone(server: LiveServer, page: Page) -> None:
    track(server, "kept", state="succeeded")
    run = track(server, "unwanted", state="failed")
    open_table(page, server)
    page.get_by_role("checkbox", name="Select unwanted").check()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.locator(f"[data-run='{run}']")).to_have_count(0)
    expect(page.get_by_role("link", name="kept")).to_be_visible()
    assert server.get(f"/api/v1/runs/{run}")["deleted_ns"] is not None


def test_selection__stopped__ends_the_run(server: LiveServer, page: Page, tmp_path: Path) -> None:
    run = server.launch(["sleep", "600"])["id"]
    server.wait_state(run, "running")
    open_table(page, server)
    page.locator(f"[data-run='{run}']").get_by_role("checkbox").check()
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(f"[data-run='{run}']")).to_contain_text("stopped")
    assert server.get(f"/api/v1/runs/{run}")["state"] == "stopped"
