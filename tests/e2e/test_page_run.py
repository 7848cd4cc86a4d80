"""The page of one run in a real browser, on a real server that runs real commands."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from browser import Watch
from git_world import Repository
from live_server import LiveServer, wait_for

LINES_MANY = 30_000
TOKEN = "a-token-of-this-test"
# Says a line, then waits for a file to appear before it says the next.
PATIENT = """
import pathlib, sys, time
print("first line", flush=True)
while not pathlib.Path(sys.argv[1]).exists():
    time.sleep(0.02)
print("second line", flush=True)
"""
TALKATIVE = r"""
import sys
sys.stdout.write("\x1b[31mred\x1b[0m <img src=x onerror=document.title='hacked'>\n")
sys.stdout.flush()
for at in range(0, 101, 10):
    sys.stderr.write(f"\rworking {at:3d}%")
sys.stderr.write("\n")
"""


@pytest.fixture
def server(module_server: LiveServer) -> LiveServer:
    """One for all: each test looks at runs of its own."""
    return module_server


def png(width: int, height: int) -> bytes:
    """A plain image."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    rows = (b"\0" + b"\x20\x80\xa0" * width) * height
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", head),
            chunk(b"IDAT", zlib.compress(rows)),
            chunk(b"IEND", b""),
        ]
    )


def tracked(server: LiveServer, name: str = "tracked") -> str:
    return server.post("/api/v1/runs", {"experiment": "digits", "name": name})["id"]


def put(server: LiveServer, run: str, path: str, content: bytes) -> None:
    status, answer = server.request("PUT", f"/api/v1/runs/{run}/artifacts/{path}", content)
    assert status == 200, answer


def lines(page: Page) -> Locator:
    return page.locator("[data-line]")


def painted_pixels(chart: Locator) -> int:
    """How many pixels of a chart's canvas have the colour of its line."""
    return chart.locator("canvas").evaluate(
        """canvas => {
            const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
            let painted = 0;
            for (let at = 0; at < data.length; at += 4) {
                const [red, green, blue, alpha] = data.subarray(at, at + 4);
                if (red < 60 && green > 110 && blue > 110 && alpha > 200) painted += 1;
            }
            return painted;
        }"""
    )


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    found = Repository.create(tmp_path / "training-job")
    found.commit({"train.py": "import six\nprint('six', six.__version__)\n"})
    return found


def test_overview__run_from_git__shows_commit_receipt_lock_and_events(
    server: LiveServer, page: Page, repository: Repository
) -> None:
    server.post("/api/v1/environments", {"spec": {"name": "team", "pip": ["six==1.17.0"]}})
    commit = repository.head
    run = server.post(
        "/api/v1/runs",
        {
            "spec": {
                "name": "digits",
                "environment": "team",
                "command": "python training-job/train.py",
                "code": {"sync_mode": "git", "url": repository.url, "ref": "main"},
                "timeout": "5m",
            },
            "code": {
                "kind": "git",
                "url": repository.url,
                "commit": commit,
                "folder": "training-job",
                "ref": "main",
            },
            "params": {"lr": "0.1"},
        },
    )["id"]
    server.wait_state(run, "succeeded")
    page.goto(f"{server.url}/runs/{run}")
    code = page.get_by_role("region", name="Code")
    expect(code.get_by_title(commit)).to_have_text(commit[:12])
    expect(code).to_contain_text("Receipt: training-job, 1 file")
    environment = page.get_by_role("region", name="Environment")
    expect(environment).to_contain_text("team@1")
    environment.get_by_role("button", name=re.compile("locked package")).click()
    expect(page.get_by_test_id("lock")).to_contain_text("six==1.17.0")
    environment.get_by_label("Find a package").fill("nothing")
    expect(page.get_by_test_id("lock")).to_have_text("No package matches.")
    expect(page.get_by_role("region", name="Command")).to_contain_text(
        "python training-job/train.py"
    )
    expect(page.get_by_role("region", name="What happened")).to_contain_text("exit code 0")
    expect(page.get_by_role("region", name="Params")).to_contain_text("0.1")
    expect(page.get_by_role("region", name="Resources")).to_contain_text("5m")


def test_header__failed_command__shows_how_it_ended_and_runs_again(
    server: LiveServer, page: Page
) -> None:
    run = server.launch("exit 3")["id"]
    server.wait_state(run, "failed")
    page.goto(f"{server.url}/runs/{run}")
    header = page.locator("article > header")
    expect(header).to_contain_text("failed")
    expect(page.get_by_role("region", name="Attempt")).to_contain_text("exit code 3")
    page.get_by_role("button", name="Run again").click()
    expect(page.get_by_role("region", name="Attempts").get_by_role("row")).to_have_count(3)
    server.wait_state(run, "failed")


def test_header__stop__ends_a_running_command(server: LiveServer, page: Page) -> None:
    run = server.launch(["sleep", "600"])["id"]
    server.wait_state(run, "running")
    page.goto(f"{server.url}/runs/{run}")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("article > header")).to_contain_text("stopped")


def test_charts__points_arrive__are_drawn_and_counted(server: LiveServer, page: Page) -> None:
    run = tracked(server)
    points = [["train/loss", 1 / (step + 1), step, 1000 * step] for step in range(50)]
    points += [["lr", 0.1, 0, 0], ["train/loss", "NaN", 50, 50_000]]
    server.post(f"/api/v1/runs/{run}/metrics", {"points": points})
    page.goto(f"{server.url}/runs/{run}/charts")
    loss = page.locator("figure[data-metric='train/loss']")
    expect(loss).to_have_attribute("data-points", "51")
    expect(loss).to_have_attribute("data-nans", "1")
    expect(loss).to_have_attribute("aria-label", re.compile("51 points, last NaN at step 50"))
    expect(page.get_by_role("button", name=re.compile("^train"))).to_be_visible()
    assert wait_for(lambda: painted_pixels(loss) > 200, what="a line on the canvas")
    canvas = loss.locator("canvas").element_handle()
    server.post(f"/api/v1/runs/{run}/metrics", {"points": [["train/loss", 0.25, 51, 51_000]]})
    expect(loss).to_have_attribute("data-points", "52")
    expect(loss).to_have_attribute("data-last", "0.25")
    assert canvas.evaluate("canvas => canvas.isConnected"), "new points must not make it flicker"


def test_charts__log_scale_smoothing_and_axes__draw_without_errors(
    server: LiveServer, page: Page
) -> None:
    run = tracked(server)
    points = [["loss", (-1) ** step / (step + 1), step, 1000 * step] for step in range(3000)]
    server.post(f"/api/v1/runs/{run}/metrics", {"points": points})
    page.goto(f"{server.url}/runs/{run}/charts")
    loss = page.locator("figure[data-metric='loss']")
    expect(loss).to_have_attribute("data-points", "3000")
    page.get_by_role("switch", name="Log scale").check(force=True)
    page.get_by_text("Relative", exact=True).click()
    page.get_by_text("Wall time", exact=True).click()
    slider = page.get_by_role("slider")
    slider.focus()
    page.keyboard.press("End")
    assert wait_for(lambda: painted_pixels(loss) > 100, what="a smoothed line")
    page.get_by_role("button", name="Enlarge loss").click()
    page.get_by_role("dialog").get_by_text("Table", exact=True).click()
    expect(page.get_by_role("dialog").get_by_role("row")).to_have_count(501)


def test_log__run_prints__lines_appear_while_it_runs(
    server: LiveServer, page: Page, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    run = server.launch(["python3", "-c", PATIENT, str(gate)])["id"]
    page.goto(f"{server.url}/runs/{run}/logs")
    expect(lines(page).filter(has_text="first line")).to_be_visible()
    expect(page.get_by_text("second line")).to_have_count(0)
    gate.touch()
    expect(lines(page).filter(has_text="second line")).to_be_visible()
    expect(page.get_by_test_id("log-total")).to_contain_text("2 lines")
    expect(page.get_by_test_id("log-total")).not_to_contain_text("live")


def test_log__stream_does_not_get_through__lines_are_asked_for_instead(
    server: LiveServer, page: Page, watch: Watch, tmp_path: Path
) -> None:
    watch.expected.append("ERR_FAILED")
    page.route("**/logs/follow*", lambda route: route.abort())
    gate = tmp_path / "gate"
    run = server.launch(["python3", "-c", PATIENT, str(gate)])["id"]
    page.goto(f"{server.url}/runs/{run}/logs")
    expect(lines(page).filter(has_text="first line")).to_be_visible()
    gate.touch()
    expect(lines(page).filter(has_text="second line")).to_be_visible()


def test_log__lines_of_64_kib__are_cut_on_screen_and_no_line_is_called_missing(
    server: LiveServer, page: Page
) -> None:
    script = "for n in range(300): print(f'{n:03d}' + 'x' * 60_000)"
    run = server.launch(["python3", "-c", script])["id"]
    server.wait_state(run, "succeeded")
    page.goto(f"{server.url}/runs/{run}/logs")
    expect(lines(page).filter(has_text=re.compile("^300299x"))).to_be_visible()
    page.get_by_label("Go to line").fill("150")
    page.get_by_label("Go to line").press("Enter")
    line = page.locator("[data-line='150']")
    expect(line).to_be_in_viewport()
    line.get_by_role("button", name=re.compile("58 003 more characters")).click()
    expect(page.get_by_role("dialog")).to_contain_text("149xxx")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Start of the log").click()
    expect(page.locator("[data-line='1']")).to_be_in_viewport()
    expect(page.get_by_text("missing")).to_have_count(0)


def test_log__colours_markup_and_progress__are_shown_and_never_executed(
    server: LiveServer, page: Page
) -> None:
    run = server.launch(["python3", "-c", TALKATIVE])["id"]
    server.wait_state(run, "succeeded")
    page.goto(f"{server.url}/runs/{run}/logs")
    red = lines(page).filter(has_text="red <img src=x")
    expect(red).to_be_visible()
    expect(red.get_by_text("red", exact=True)).to_have_attribute("style", re.compile("ansi-1"))
    expect(page.locator("[data-stream='err']")).to_have_count(1)
    expect(page.locator("[data-stream='err']")).to_contain_text("working 100%")
    assert "hacked" not in page.title()
    page.get_by_label("Collapse progress").uncheck()
    expect(lines(page).filter(has_text="working  50%")).to_be_visible()


def test_log__many_lines__jumps_and_searches_in_a_window(server: LiveServer, page: Page) -> None:
    script = f"for n in range(1, {LINES_MANY + 1}): print('number', n)"
    run = server.launch(["python3", "-c", script])["id"]
    server.wait_state(run, "succeeded")
    page.goto(f"{server.url}/runs/{run}/logs")
    last = lines(page).filter(has_text=re.compile(f"number {LINES_MANY}$"))
    expect(last).to_be_visible()
    assert lines(page).count() < 200
    page.get_by_label("Go to line").fill("12345")
    page.get_by_label("Go to line").press("Enter")
    expect(page.locator("[data-line='12345']")).to_be_in_viewport()
    page.get_by_label("Find in the loaded lines").fill("number 12400")
    page.get_by_label("Find in the loaded lines").press("Enter")
    expect(page.locator("[data-line='12400'] mark")).to_be_in_viewport()
    page.get_by_role("button", name="Start of the log").click()
    expect(page.locator("[data-line='1']")).to_be_in_viewport()
    for _ in range(3):  # scrolling on loads further pages
        page.get_by_role("region", name="Log lines").focus()
        page.keyboard.press("End")
        expect(page.locator("[data-line='1']")).to_have_count(0)
    page.get_by_role("button", name="End of the log").click()
    expect(last).to_be_in_viewport()


def test_artifacts__files_of_all_kinds__are_previewed_and_never_executed(
    server: LiveServer, page: Page
) -> None:
    run = tracked(server)
    put(server, run, "plots/loss.png", png(120, 80))
    put(server, run, "report.html", b"<h1>Report</h1><script>document.title='hacked'</script>")
    put(server, run, "rows.csv", b'id,label\n1,"a, b"\n')
    put(server, run, "big.txt", b"0123456789abcde\n" * 32 * 1024)
    put(server, run, "model.pkl", bytes(range(256)))
    page.goto(f"{server.url}/runs/{run}/artifacts")
    files = page.get_by_role("navigation", name="Files")
    files.get_by_role("button", name=re.compile("plots")).click()
    files.get_by_role("button", name=re.compile("loss.png")).click()
    image = page.get_by_role("img", name="plots/loss.png")
    expect(image).to_be_visible()
    assert wait_for(lambda: image.evaluate("image => image.naturalWidth") == 120, what="the image")
    files.get_by_role("button", name=re.compile("report.html")).click()
    expect(page.get_by_text("<script>document.title='hacked'</script>")).to_be_visible()
    assert "hacked" not in page.title()
    files.get_by_role("button", name=re.compile("rows.csv")).click()
    expect(page.get_by_role("cell", name="a, b", exact=True)).to_be_visible()
    with page.expect_request(re.compile("big.txt")) as asked:
        files.get_by_role("button", name=re.compile("big.txt")).click()
    assert asked.value.headers["range"] == "bytes=0-262143"
    expect(page.get_by_text("The first 256 KiB of 512 KiB")).to_be_visible()
    files.get_by_role("button", name=re.compile("model.pkl")).click()
    expect(page.get_by_text("There is no preview of this kind of file.")).to_be_visible()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Download").click()
    assert saved.value.path().read_bytes() == bytes(range(256))


def test_page__server_dies_and_returns__says_so_and_goes_on(
    make_server: Callable[..., LiveServer], page: Page, watch: Watch, tmp_path: Path
) -> None:
    server = make_server()
    watch.expected.append("ERR_CONNECTION_REFUSED|ERR_INCOMPLETE|ERR_CONNECTION_RESET|ERR_EMPTY")
    gate = tmp_path / "gate"
    run = server.launch(["python3", "-c", PATIENT, str(gate)])["id"]
    page.goto(f"{server.url}/runs/{run}/logs")
    expect(lines(page).filter(has_text="first line")).to_be_visible()
    server.kill()
    banner = page.get_by_text("The server does not answer; retrying.")
    expect(banner).to_be_visible()
    gate.touch()
    server.start()
    expect(banner).to_have_count(0)
    expect(lines(page).filter(has_text="second line")).to_be_visible()
    expect(page.locator("article > header")).to_contain_text("succeeded")
    expect(lines(page)).to_have_count(2)


def test_page__address_that_mlflow_prints__leads_to_the_run(server: LiveServer, page: Page) -> None:
    run = tracked(server, name="printed")
    page.goto(f"{server.url}/#/experiments/1/runs/{run}")
    expect(page.get_by_role("heading", name="printed")).to_be_visible()
    expect(page).to_have_url(f"{server.url}/runs/{run}")


def test_header__deleted_run__is_restored(server: LiveServer, page: Page) -> None:
    run = tracked(server)
    status, _ = server.request("DELETE", f"/api/v1/runs/{run}")
    assert status == 200
    page.goto(f"{server.url}/runs/{run}")
    expect(page.get_by_text("This run was deleted")).to_be_visible()
    page.get_by_role("button", name="Restore").click()
    expect(page.get_by_text("This run was deleted")).to_have_count(0)
    assert server.get(f"/api/v1/runs/{run}")["deleted_ns"] is None


def test_page__unknown_run__says_so(server: LiveServer, page: Page, watch: Watch) -> None:
    watch.expected.append("status of 404")
    page.goto(f"{server.url}/runs/{'0' * 32}")
    expect(page.get_by_role("alert")).to_contain_text(re.compile("run", re.IGNORECASE))


@pytest.fixture
def closed_server(tmp_path: Path) -> Iterator[LiveServer]:
    """A server that asks for a token."""
    server = LiveServer(tmp_path / "closed", env={"SEAFLOOR_SERVER__TOKEN": TOKEN}).start()
    yield server
    server.stop()


def test_page__token_wanted__asks_until_the_right_one_is_given(
    closed_server: LiveServer, page: Page, watch: Watch
) -> None:
    watch.expected.append("status of 401")
    page.goto(closed_server.url)
    box = page.get_by_label("Token", exact=True)
    box.fill("wrong")
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_text("The last token was not accepted.")).to_be_visible()
    box.fill(TOKEN)
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_text("No runs yet")).to_be_visible()
    page.reload()
    expect(page.get_by_text("No runs yet")).to_be_visible()


def test_page__dark_theme__is_kept(server: LiveServer, page: Page) -> None:
    page.goto(server.url)
    page.get_by_role("button", name="Switch to the dark theme").click()
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-mantine-color-scheme", "dark")


def test_page__keyboard_only__reaches_a_runs_log(server: LiveServer, page: Page) -> None:
    run = server.launch("echo hello")["id"]
    server.wait_state(run, "succeeded")
    page.goto(f"{server.url}/runs")
    link = page.locator(f"[data-run='{run}']").get_by_role("link")
    expect(link).to_be_visible()
    for _ in range(40):
        page.keyboard.press("Tab")
        if link.evaluate("link => link === document.activeElement"):
            break
    page.keyboard.press("Enter")
    expect(page.get_by_role("tab", name="Overview")).to_be_visible()
    page.get_by_role("tab", name="Overview").focus()
    for _ in ("Charts", "Media", "Logs"):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(lines(page).filter(has_text="hello")).to_be_visible()


def test_page__its_policy__allows_no_inline_script(server: LiveServer, page: Page) -> None:
    answer = page.goto(server.url)
    assert answer is not None
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'self'")
    assert "script-src" not in policy
