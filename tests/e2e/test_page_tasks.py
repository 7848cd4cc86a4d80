"""The logs of runs that are more than one log, in a real browser on a real server."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest
from playwright.sync_api import Page, expect

from kept_log import keep_log
from live_server import LiveServer

TASKS = ("master-0", "worker-0", "worker-1")


@pytest.fixture
def server(module_server: LiveServer) -> LiveServer:
    """One for all: each test looks at runs of its own."""
    return module_server


def ended_run(server: LiveServer) -> str:
    run = server.launch("echo from main")["id"]
    server.wait_state(run, "succeeded")
    return run


@pytest.fixture
def distributed(server: LiveServer) -> str:
    """A run that ended, as a cluster leaves one of three tasks: a local launcher has no such."""
    run = ended_run(server)
    for task in TASKS:
        keep_log(server, run, task, f"from {task}", f"rank of {task}")
    role = {"replicas": 1, "command": "train"}
    tasks = {"worker": {**role, "replicas": 2}, "master": role}
    with closing(sqlite3.connect(server.data / "seafloor.db", timeout=30)) as database:
        (text,) = database.execute("SELECT spec FROM workload WHERE id = ?", (run,)).fetchone()
        spec = {**json.loads(text), "command": [], "tasks": tasks}
        database.execute("UPDATE workload SET spec = ? WHERE id = ?", (json.dumps(spec), run))
        database.commit()
    return run


def test_picker__run_of_several_tasks__shows_the_log_of_each(
    server: LiveServer, page: Page, distributed: str
) -> None:
    page.goto(f"{server.url}/runs/{distributed}/logs")
    lines = page.locator("[data-line]")
    picker = page.get_by_role("combobox", name="Task")
    expect(picker).to_have_value("master-0")
    expect(lines).to_contain_text(["from master-0", "rank of master-0"])
    picker.click()
    expect(page.get_by_role("option")).to_have_text(list(TASKS))
    picker.fill("worker-1")  # of hundreds nobody scrolls for one
    expect(page.get_by_role("option")).to_have_text(["worker-1"])
    page.get_by_role("option", name="worker-1").click()
    expect(picker).to_have_value("worker-1")
    expect(lines).to_contain_text(["from worker-1", "rank of worker-1"])
    expect(page.get_by_text("from master-0")).to_have_count(0)
    with page.expect_download() as kept:
        page.get_by_role("button", name="Raw").click()
    assert kept.value.suggested_filename.endswith("-1-worker-1.log")
    assert kept.value.path().read_text() == "from worker-1\nrank of worker-1\n"


def test_picker__run_of_one_task__is_not_there(server: LiveServer, page: Page) -> None:
    page.goto(f"{server.url}/runs/{ended_run(server)}/logs")
    expect(page.locator("[data-line]")).to_contain_text(["from main"])
    expect(page.get_by_label("Task", exact=True)).to_have_count(0)
    expect(page.get_by_label("Log", exact=True).and_(page.get_by_role("combobox"))).to_have_count(0)


def test_setups__of_a_run_in_a_cluster__are_logs_beside_its_own(
    server: LiveServer, page: Page
) -> None:
    run = ended_run(server)
    keep_log(server, run, "main@git-localize", "Cloning", "<b>HEAD</b> is at 1234")
    page.goto(f"{server.url}/runs/{run}/logs")
    lines = page.locator("[data-line]")
    expect(lines).to_contain_text(["from main"])
    picker = page.get_by_role("combobox", name="Log")
    expect(picker).to_have_value("The command")
    picker.click()
    page.get_by_role("option", name="git-localize").click()
    expect(lines).to_contain_text(["Cloning", "<b>HEAD</b> is at 1234"])
    expect(page.get_by_text("from main")).to_have_count(0)
    with page.expect_download() as kept:
        page.get_by_role("button", name="Raw").click()
    assert kept.value.path().read_text() == "Cloning\n<b>HEAD</b> is at 1234\n"
    picker.click()
    page.get_by_role("option", name="The command").click()
    expect(lines).to_contain_text(["from main"])
