"""The server dies, refuses, errs, comes back elsewhere: no command notices, and all arrives."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from agent_world import AgentTask, wait_until
from seafloor.agent.event_files import EventFiles
from seafloor.agent.salvage import PATIENCE_S
from seafloor.agent.server import TRIES_AFTER_A_BUG, Server, ServerAway
from seafloor.agent.shipping import PAUSE_MAX_S, PAUSE_MIN_S
from seafloor.testing.task_receiver import Delivery, Reply, TaskReceiver

LINES = "for i in range(500): print('line', i)"
PRINTED = b"".join(f"line {i}\n".encode() for i in range(500))
WRITER = """
import os, sys, time
from tensorboardX import SummaryWriter
writer = SummaryWriter(os.environ["EVENTS"] + sys.argv[1], flush_secs=1)
for step in range(300):
    writer.add_scalar("loss", 1 / (step + 1), step)
writer.flush()
print("flushed")
while not os.path.exists("go"):
    time.sleep(0.02)
for step in range(300, 400):
    writer.add_scalar("loss", 1 / (step + 1), step)
writer.close()
"""
DEEP = """
import os, sys
base = os.path.join(os.environ[sys.argv[1]], "a")
os.mkdir(base)
os.chdir(base)
for _ in range(int(sys.argv[2])):
    os.mkdir("d")
    os.chdir("d")
open("tfevents", "w").write("x")
"""


def python(code: str, *arguments: str) -> list[str]:
    """A command that runs Python."""
    return [sys.executable, "-c", code, *arguments]


def go(task: AgentTask) -> None:
    """Let a command that waits for it go on."""
    (task.folder / "work" / "go").touch()


def check_all_arrived(task: AgentTask, *, answers_lost: bool = False) -> None:
    """What stands in the spool on disk is what arrived, whole and once.

    Args:
        answers_lost: Whether a report may have come again, its answer having been cut off.
    """
    assert bytes(task.received.logs["main"]) == (task.task_dir / "log.spool").read_bytes()
    assert task.received.printed(0) == PRINTED
    first, *more = task.received.ends
    assert more == ([first] * len(more) if answers_lost else [])
    done = {"format_version": 1, "delivered": True, "reason": "", "gone": False}
    assert task.document("done.json") == done


class Failing:
    """Answers some requests wrongly, each so many times, and counts.

    Args:
        reply: The wrong answer.
        matches: Part of the path.
        times: How often.
    """

    def __init__(self, reply: Reply, matches: str = "", times: int = 3) -> None:
        self._reply = reply
        self._matches = matches
        self.left = times
        self._lock = threading.Lock()

    def __call__(self, delivery: Delivery) -> Reply | None:
        with self._lock:
            if self.left and self._matches in delivery.path:
                self.left -= 1
                return self._reply
        return None


def test_ship__server_away_throughout__command_runs_and_all_arrives_later(
    agent_task: AgentTask, receiver: TaskReceiver
) -> None:
    receiver.stop()
    process = agent_task.start(python(LINES))
    wait_until(lambda: agent_task.document("exit.json"), what="the command's end")
    assert process.poll() is None
    receiver.start()
    assert process.wait(60) == 0, agent_task.errors
    check_all_arrived(agent_task)


def test_ship__no_server_file_yet__waits_for_it(
    agent_task: AgentTask, receiver: TaskReceiver
) -> None:
    receiver.stop()
    agent_task.server_file.unlink()
    process = agent_task.start(python(LINES))
    wait_until(lambda: agent_task.document("exit.json"), what="the command's end")
    receiver.start()
    assert process.wait(60) == 0, agent_task.errors
    check_all_arrived(agent_task)


@pytest.mark.slow
def test_ship__server_dies_again_and_again__found_on_every_new_port(
    agent_task: AgentTask, receiver: TaskReceiver
) -> None:
    code = f"import time\n{LINES}; time.sleep(0.01)"
    process = agent_task.start(python(code))
    for lives in range(4):
        seen = len(agent_task.received.logs.get("main", b""))
        wait_until(
            lambda seen=seen: (
                len(agent_task.received.logs.get("main", b"")) > seen
                or agent_task.document("exit.json")
            ),
            what=f"lines in life {lives}",
        )
        receiver.stop()
        receiver.start()
    assert process.wait(120) == 0, agent_task.errors
    check_all_arrived(agent_task, answers_lost=True)


@pytest.mark.parametrize(
    "reply",
    [
        (500, {"code": "internal", "message": "a bug"}),
        (503, {"code": "store_unavailable", "message": "later"}),
        (507, {"code": "store_full", "message": "no space"}),
        (429, {"code": "limit_exceeded", "message": "too fast"}),
        (401, {"code": "unauthenticated", "message": "who are you"}),
        (404, {"detail": "some other program has this port now"}),
        (200, {}),
    ],
    ids=["500", "503", "507", "429", "401", "a stranger's 404", "a stranger's 200"],
)
@pytest.mark.parametrize("matches", ["/logs", "/start", "/end", "/event-files", "/artifacts"])
def test_ship__passing_trouble__repeated_until_it_passes(
    agent_task: AgentTask, receiver: TaskReceiver, reply: Reply, matches: str
) -> None:
    trouble = Failing(reply, matches, times=2)
    receiver.trouble = trouble
    code = f"{LINES}\nimport os; open(os.environ['OUT'] + '/a', 'w').write('A')"
    code += "; open(os.environ['EVENTS'] + '/tfevents.1', 'w').write('E')"
    agent_task.run(python(code))
    assert trouble.left == 0
    check_all_arrived(agent_task)
    assert agent_task.received.artifacts == {"a": b"A"}
    assert agent_task.received.events == {"tfevents.1": bytearray(b"E")}
    assert agent_task.end["output_failed"] == []


def test_ship__server_lost_its_tail__sends_from_where_it_wants(
    agent_task: AgentTask, receiver: TaskReceiver
) -> None:
    code = f"{LINES}\nimport os, time\nwhile not os.path.exists('go'): time.sleep(0.02)"
    process = agent_task.start(python(code))
    wait_until(lambda: agent_task.received.printed(0) == PRINTED, what="the lines")
    receiver.stop()
    del agent_task.received.logs["main"][1000:]
    receiver.start()
    go(agent_task)
    assert process.wait(60) == 0, agent_task.errors
    check_all_arrived(agent_task)


def test_ship__log_closed__stops_that_and_delivers_the_rest(
    agent_task: AgentTask, receiver: TaskReceiver
) -> None:
    closed = (409, {"code": "closed", "message": "The log takes no more."})
    receiver.trouble = Failing(closed, "/logs", times=1 << 30)
    end = agent_task.run(f"echo x; echo y > {agent_task.output}/file")
    assert end["output_files"] == 1
    done = agent_task.document("done.json")
    assert done is not None
    assert (done["delivered"], done["reason"]) == (False, "The log takes no more.")


def test_ship__ended_otherwise__accepted_as_it_is(
    agent_task: AgentTask, receiver: TaskReceiver
) -> None:
    conflict = (409, {"code": "conflict", "message": "It has ended otherwise."})
    receiver.trouble = Failing(conflict, "/end", times=1 << 30)
    process = agent_task.start("true")
    assert process.wait(60) == 0
    done = agent_task.document("done.json")
    assert done is not None
    assert done["reason"] == "It has ended otherwise."


def test_ship__workload_deleted__command_goes_on_and_spool_stays(
    agent_task: AgentTask, receiver: TaskReceiver
) -> None:
    gone = (404, {"code": "not_found", "message": "There is no such run."})
    receiver.trouble = Failing(gone, "", times=1 << 30)
    code = f"import os, time\nwhile not os.path.exists('go'): time.sleep(0.02)\n{LINES}"
    process = agent_task.start(python(code))
    wait_until(lambda: agent_task.document("done.json"), what="the end of shipping")
    asked = len(receiver.requests)
    go(agent_task)
    assert process.wait(60) == 0
    assert agent_task.printed_on_disk() == PRINTED
    assert len(receiver.requests) == asked
    ended = agent_task.document("exit.json")
    assert ended is not None
    assert ended["ending"]["exit_code"] == 0


def test_ship__folder_removed_under_it__ends_by_itself(
    agent_task: AgentTask, receiver: TaskReceiver
) -> None:
    receiver.stop()
    process = agent_task.start("true")
    wait_until(lambda: agent_task.document("exit.json"), what="the command's end")
    errors = agent_task.errors
    shutil.rmtree(agent_task.folder)
    assert process.wait(60) == 0
    assert errors == ""


def test_ship__sigterm_while_delivering__rest_is_left_for_later(
    agent_task: AgentTask, receiver: TaskReceiver
) -> None:
    receiver.stop()
    process = agent_task.start(python(LINES))
    wait_until(lambda: agent_task.document("exit.json"), what="the command's end")
    process.terminate()
    assert process.wait(60) == 5
    assert agent_task.document("done.json") is None
    receiver.start()
    assert agent_task.spawn("ship").wait(60) == 0
    check_all_arrived(agent_task)
    assert agent_task.received.said() == []


def test_ship__token__presented_with_every_request(
    agent_task: AgentTask, receiver: TaskReceiver
) -> None:
    agent_task.run(f"echo x; echo y > {agent_task.output}/file", token="secret-1")
    assert {d.headers.get("authorization") for d in receiver.requests} == {"Bearer secret-1"}


def test_ship__start__reported_once_with_the_process(
    agent_task: AgentTask, receiver: TaskReceiver
) -> None:
    agent_task.run("echo $$")
    (start,) = agent_task.received.starts
    assert start["pid"] == int(agent_task.received.printed(0))
    assert start["host"] == os.uname().nodename
    assert 0 < start["time_ns"] < agent_task.end["time_ns"]


@pytest.mark.slow
def test_ship__long_backlog__sent_in_pieces_of_a_megabyte(
    agent_task: AgentTask, receiver: TaskReceiver
) -> None:
    sizes: list[int] = []

    def note(delivery: Delivery) -> None:
        sizes.append(len(delivery.body))

    receiver.trouble = note
    receiver.stop()
    process = agent_task.start("seq 1 200000")
    wait_until(lambda: agent_task.document("exit.json"), what="the command's end")
    receiver.start()
    assert process.wait(60) == 0
    assert max(sizes) == 1 << 20
    assert agent_task.received.printed(0) == b"".join(b"%d\n" % i for i in range(1, 200_001))


@pytest.mark.parametrize("folder", ["", "/train/deep ü"])
def test_events__written_by_tensorboardx__arrive_live_and_byte_for_byte(
    agent_task: AgentTask, folder: str
) -> None:
    process = agent_task.start(python(WRITER, folder))
    wait_until(lambda: b"flushed\n" in agent_task.printed_on_disk(), what="the first events")
    (file,) = agent_task.events.rglob("*tfevents*")
    name = str(file.relative_to(agent_task.events))
    first = file.read_bytes()
    assert len(first) > 1000
    wait_until(lambda: bytes(agent_task.received.events.get(name, b"")) == first, what="them live")
    go(agent_task)
    assert process.wait(60) == 0, agent_task.errors
    assert bytes(agent_task.received.events[name]) == file.read_bytes() != first
    assert agent_task.end["event_files"] == 1


def test_events__other_files_and_links__not_sent(agent_task: AgentTask) -> None:
    end = agent_task.run(
        "cd $EVENTS && echo a > notes.txt && echo b > x.tfevents.1 && ln -s x.tfevents.1 "
        "y.tfevents.1 && mkdir z.tfevents.2 && mkdir deep && ln -s .. deep/up"
    )
    assert agent_task.received.events == {"x.tfevents.1": bytearray(b"b\n")}
    assert end["event_files"] == 1


def test_events__refused_file__said_and_the_others_arrive(
    agent_task: AgentTask, receiver: TaskReceiver
) -> None:
    def refuse(delivery: Delivery) -> Reply | None:
        if delivery.query.get("path") == "bad.tfevents":
            return 400, {"code": "invalid_value", "message": "That is no path."}
        return None

    receiver.trouble = refuse
    agent_task.run("echo a > $EVENTS/bad.tfevents; echo b > $EVENTS/good.tfevents; echo c")
    assert agent_task.received.events == {"good.tfevents": bytearray(b"b\n")}
    assert agent_task.received.said() == [
        "The events file bad.tfevents was not kept: That is no path."
    ]


@pytest.mark.parametrize("then", ["short", "of the same size", "longer than what there was"])
@pytest.mark.parametrize("how", ["> $EVENTS/x.tfevents.1", "> new && mv new $EVENTS/x.tfevents.1"])
def test_events__written_anew__both_are_kept_and_said(
    agent_task: AgentTask, how: str, then: str
) -> None:
    first = "this is it once."
    process = agent_task.start(
        f"printf '{first}' > $EVENTS/x.tfevents.1; until [ -e go ]; do sleep 0.02; done; "
        f"printf '{then}' {how}"
    )
    arrived = agent_task.received.events
    wait_until(lambda: bytes(arrived.get("x.tfevents.1", b"")) == first.encode(), what="the first")
    go(agent_task)
    assert process.wait(60) == 0, agent_task.errors
    assert {name: bytes(data) for name, data in arrived.items()} == {
        "x.tfevents.1": first.encode(),
        "x.tfevents.1.2": then.encode(),
    }
    (said,) = agent_task.received.said()
    assert said == (
        "The events file x.tfevents.1 was written anew: of what it had been, the first 16 bytes "
        "were kept as x.tfevents.1; what it is now is x.tfevents.1.2."
    )


def test_events__written_anew_while_it_runs__arrives_live(agent_task: AgentTask) -> None:
    process = agent_task.start(
        "printf 'the first and longest' > $EVENTS/x.tfevents.1; until [ -e go ]; do sleep 0.02; "
        "done; printf second > $EVENTS/x.tfevents.1; until [ -e end ]; do sleep 0.02; done"
    )
    arrived = agent_task.received.events
    wait_until(lambda: "x.tfevents.1" in arrived, what="the first")
    go(agent_task)
    wait_until(lambda: bytes(arrived.get("x.tfevents.1.2", b"")) == b"second", what="the second")
    (agent_task.folder / "work" / "end").touch()
    assert process.wait(60) == 0, agent_task.errors


def test_events__of_an_agent_before_this_one_longer_than_there_is__kept_beside(
    agent_task: AgentTask,
) -> None:
    process = agent_task.start("printf 'a b c d e f' > $EVENTS/x.tfevents.1; exec sleep 600")
    arrived = agent_task.received.events
    wait_until(lambda: bytes(arrived.get("x.tfevents.1", b"")) == b"a b c d e f", what="it")
    process.kill()
    process.wait()
    (agent_task.events / "x.tfevents.1").write_bytes(b"short")
    assert agent_task.spawn("ship").wait(60) == 0, agent_task.errors
    assert bytes(arrived["x.tfevents.1"]) == b"a b c d e f"
    assert bytes(arrived["x.tfevents.1.2"]) == b"short"


def test_events__same_file_put_in_its_place__goes_on(agent_task: AgentTask) -> None:
    process = agent_task.start(
        "printf begin > $EVENTS/x.tfevents.1; until [ -e go ]; do sleep 0.02; done; "
        "printf 'begin, and the rest' > new; mv new $EVENTS/x.tfevents.1"
    )
    arrived = agent_task.received.events
    wait_until(lambda: bytes(arrived.get("x.tfevents.1", b"")) == b"begin", what="the beginning")
    go(agent_task)
    assert process.wait(60) == 0, agent_task.errors
    assert arrived == {"x.tfevents.1": bytearray(b"begin, and the rest")}
    assert agent_task.received.said() == []


def test_events__written_anew_all_the_time__is_given_up_and_said(agent_task: AgentTask) -> None:
    server = Server(str(agent_task.server_file), None)
    files = EventFiles(
        server, str(agent_task.events), f"/api/v1/runs/{agent_task.run_id}/attempts/1"
    )
    for number in range(150):
        (agent_task.events / "x.tfevents.1").write_text(f"{number:06d}")
        assert files.send()
    server.close()
    assert len(agent_task.received.events) == 100
    assert bytes(agent_task.received.events["x.tfevents.1.100"]) == b"000099"
    said = files.problems()
    assert len(said) == 51
    assert said[-1] == "50 more events files had a problem."


def test_events__server_fails_at_one_each_time__others_arrive_and_it_is_said(
    agent_task: AgentTask, receiver: TaskReceiver
) -> None:
    def fail(delivery: Delivery) -> Reply | None:
        failed = (500, {"code": "internal", "message": "Something went wrong (id 7)."})
        return failed if delivery.query.get("path") == "a.tfevents.1" else None

    receiver.trouble = fail
    for name in ("a", "b"):
        (agent_task.events / f"{name}.tfevents.1").write_text(name)
    server = Server(str(agent_task.server_file), None)
    attempt = f"/api/v1/runs/{agent_task.run_id}/attempts/1"
    files = EventFiles(server, str(agent_task.events), attempt)
    for _ in range(TRIES_AFTER_A_BUG - 1):
        with pytest.raises(ServerAway):
            files.send()
        assert agent_task.received.events == {"b.tfevents.1": bytearray(b"b")}
        assert files.problems() == []
    assert files.send()
    assert files.problems() == [
        "The events file a.tfevents.1 was not kept: Something went wrong (id 7)."
    ]
    receiver.trouble = lambda _: None
    files.ask_again()  # when the command has ended
    assert files.send()
    server.close()
    assert files.problems() == []
    assert agent_task.received.events["a.tfevents.1"] == b"a"


def test_tries_after_a_bug__are_over_before_a_salvage_loses_patience() -> None:
    pauses_s = [min(PAUSE_MAX_S, PAUSE_MIN_S * 2**at) for at in range(TRIES_AFTER_A_BUG)]
    assert sum(pauses_s) < PATIENCE_S


def test_events__large_and_the_server_slow__the_log_arrives_meanwhile(
    agent_task: AgentTask, receiver: TaskReceiver
) -> None:
    events = 0
    lines_at_the_end = threading.Event()

    def look(delivery: Delivery) -> Reply | None:
        nonlocal events
        if "path" in delivery.query and delivery.body:
            events += 1
            # Each piece takes as long as the agent gives events at a time.
            lines_at_the_end.wait(0.5)
        return None

    receiver.trouble = look
    process = agent_task.start(
        "head -c 20000000 /dev/zero > $EVENTS/x.tfevents.1; echo begun; "
        "until [ -e go ]; do sleep 0.02; done; echo printed; until [ -e end ]; do sleep 0.02; done"
    )
    wait_until(lambda: events > 0, what="the first piece")
    go(agent_task)
    wait_until(lambda: b"printed" in agent_task.received.printed(0), what="the line")
    lines_at_the_end.set()
    assert len(agent_task.received.events["x.tfevents.1"]) < 10_000_000
    (agent_task.folder / "work" / "end").touch()
    assert process.wait(60) == 0, agent_task.errors
    assert len(agent_task.received.events["x.tfevents.1"]) == 20_000_000


def test_outputs__files_of_every_kind__arrive_by_path(agent_task: AgentTask) -> None:
    noise = os.urandom(3 << 20)
    (agent_task.folder / "work" / "noise").write_bytes(noise)
    end = agent_task.run(
        "cp noise $OUT/model.bin; mkdir -p $OUT/a/b; : > $OUT/a/empty; echo é > '$OUT'x; "
        'printf 1 > "$OUT/a/b/ü ?#%&+ .txt"; ln -s ../model.bin $OUT/a/link; mkfifo $OUT/pipe'
    )
    assert agent_task.received.artifacts == {
        "model.bin": noise,
        "a/empty": b"",
        "a/b/ü ?#%&+ .txt": b"1",
        "a/link": noise,
    }
    assert (end["output_files"], end["output_failed"]) == (4, ["pipe"])


def test_outputs__links_out_of_the_folder__skipped_and_said(agent_task: AgentTask) -> None:
    end = agent_task.run(
        "echo in > $OUT/in; ln -s /etc/passwd $OUT/out; ln -s /etc $OUT/folder; ln -s gone $OUT/no"
    )
    assert agent_task.received.artifacts == {"in": b"in\n"}
    assert end["output_failed"] == ["folder", "out"]
    assert end["ending"]["exit_code"] == 0
    assert agent_task.received.said() == [
        f"The output file {name} was not kept: a link to a folder, or out of the output folder."
        for name in ("folder", "out")
    ]


def test_outputs__very_many_not_kept__the_report_names_some_and_counts_the_rest(
    agent_task: AgentTask,
) -> None:
    end = agent_task.run("cd $OUT; for i in $(seq 1000 1149); do ln -s / $i; done")
    assert end["output_failed"] == [str(number) for number in range(1000, 1100)]
    assert end["output_failed_more"] == 50
    assert agent_task.received.said()[-1] == "100 more output files were not kept."


def test_outputs__pipes_and_sockets__said(agent_task: AgentTask) -> None:
    code = (
        "import os, socket; os.chdir(os.environ['OUT']); os.mkfifo('pipe'); "
        "socket.socket(socket.AF_UNIX).bind('socket'); os.symlink('pipe', 'link')"
    )
    end = agent_task.run(python(code))
    assert end["output_failed"] == ["link", "pipe", "socket"]
    assert agent_task.received.said() == [
        "The output file link was not kept: it is a pipe.",
        "The output file pipe was not kept: it is a pipe.",
        "The output file socket was not kept: it is a socket.",
    ]


def test_outputs__refused_name_with_a_new_line__is_told_in_one_line(
    agent_task: AgentTask, receiver: TaskReceiver
) -> None:
    def refuse(delivery: Delivery) -> Reply | None:
        refused = (400, {"code": "invalid_value", "message": "No."})
        return refused if delivery.method == "PUT" else None

    receiver.trouble = refuse
    end = agent_task.run(python("open(__import__('os').environ['OUT'] + '/a\\n\\x1b[2J ü', 'w')"))
    assert end["output_failed"] == ["a\\n\\x1b[2J ü"]
    assert agent_task.received.said() == ["The output file a\\n\\x1b[2J ü was not kept: No."]


@pytest.mark.parametrize(("depth", "files"), [(1100, 2), (3000, 1)])
def test_outputs__deeper_than_calls_may_nest__what_can_be_reached_arrives(
    agent_task: AgentTask, depth: int, files: int
) -> None:
    (agent_task.output / "model.pt").write_text("weights")
    end = agent_task.run(python(DEEP, "OUT", str(depth)))
    assert end["output_files"] == files
    assert agent_task.received.artifacts["model.pt"] == b"weights"
    assert len(end["output_failed"]) == 2 - files  # beyond the longest path there is
    subprocess.run(["rm", "-r", agent_task.output], check=True)


def test_outputs__chain_of_a_thousand_links__said_and_the_rest_arrives(
    agent_task: AgentTask,
) -> None:
    (agent_task.output / "0").write_text("weights")
    for number in range(1, 1200):
        (agent_task.output / str(number)).symlink_to(str(number - 1))
    end = agent_task.run("true")
    not_kept = len(end["output_failed"]) + end["output_failed_more"]
    assert end["output_files"] + not_kept == 1200
    assert agent_task.received.artifacts["0"] == b"weights"


def test_events__deeper_than_calls_may_nest__the_rest_is_delivered(agent_task: AgentTask) -> None:
    (agent_task.output / "model.pt").write_text("weights")
    end = agent_task.run(python(DEEP, "EVENTS", "1100"))
    assert (end["output_files"], end["event_files"]) == (1, 1)
    subprocess.run(["rm", "-r", agent_task.events], check=True)


@pytest.mark.parametrize("status", [400, 409, 413])
def test_outputs__refused_file__named_and_verdict_unchanged(
    agent_task: AgentTask, receiver: TaskReceiver, status: int
) -> None:
    refusal = (status, {"code": "limit_exceeded", "message": "Too large."})
    receiver.trouble = Failing(refusal, "/artifacts/big", times=1 << 30)
    end = agent_task.run(f"echo a > {agent_task.output}/big; echo b > {agent_task.output}/small")
    assert end["output_failed"] == ["big"]
    assert end["output_files"] == 1
    assert end["ending"]["exit_code"] == 0
    assert agent_task.received.said() == ["The output file big was not kept: Too large."]
    assert agent_task.received.artifacts == {"small": b"b\n"}


def test_outputs__name_that_is_not_utf8__refused_by_name(
    agent_task: AgentTask, receiver: TaskReceiver
) -> None:
    refusal = (400, {"code": "invalid_value", "message": "No UTF-8."})
    receiver.trouble = Failing(refusal, "/artifacts/b\ufffdd", times=1)
    end = agent_task.run(["/bin/sh", "-c", "cd $OUT; echo x > \"$(printf 'b\\377d')\""])
    assert end["output_failed"] == ["b\\xffd"]


def test_outputs__hundreds_of_files__all_arrive(
    agent_task: AgentTask, receiver: TaskReceiver
) -> None:
    agent_task.run("cd $OUT; for i in $(seq 300); do echo $i > f$i; done")
    assert len(agent_task.received.artifacts) == 300
    assert agent_task.end["output_files"] == 300


def test_outputs__that_take_long__their_progress_is_in_the_log_meanwhile(
    agent_task: AgentTask, receiver: TaskReceiver
) -> None:
    go_on = threading.Event()

    def hold(delivery: Delivery) -> Reply | None:
        if delivery.path.endswith("/held"):
            go_on.wait(60)
        return None

    receiver.trouble = hold
    process = agent_task.start("cd $OUT; for i in $(seq 1200) held; do echo $i > $i; done")
    wait_until(agent_task.received.said, what="a word of the delivery")
    assert not agent_task.received.ends
    (first,) = agent_task.received.said()
    found = re.fullmatch(
        r"The command has ended; its output files are being delivered: ([\d,]+) of 1,201\.", first
    )
    assert found, first
    assert int(found[1].replace(",", "")) <= 1200
    go_on.set()
    assert process.wait(60) == 0, agent_task.errors
    *_, last = agent_task.received.said()
    assert re.fullmatch(r"1,201 of 1,201 output files were delivered, in \d+ s\.", last), last


def test_outputs__server_dies_in_the_middle__all_arrive(
    agent_task: AgentTask, receiver: TaskReceiver
) -> None:
    process = agent_task.start("cd $OUT; for i in $(seq 300); do echo $i > f$i; done")
    wait_until(lambda: len(agent_task.received.artifacts) > 50, what="some files")
    receiver.stop()
    receiver.start()
    assert process.wait(60) == 0, agent_task.errors
    assert len(agent_task.received.artifacts) == 300
    assert agent_task.end["output_failed"] == []


def test_ship__other_python__the_same_file_runs(
    make_task: Callable[..., AgentTask],
) -> None:
    found = [path for name in ("python3.8", "python3.9") if (path := _python(name))]
    if not found:
        pytest.skip("there is no Python 3.8 or 3.9 here to try the agent with: install one")
    for python_path in found:
        task = make_task()
        task.python = python_path
        task.run("echo x; echo y >&2; echo z > $OUT/file; echo e > $EVENTS/tfevents")
        assert task.received.printed(0) == b"x\n"
        task.received.ends.clear()


def _python(name: str) -> str | None:
    """A Python that starts, by name; what version managers put in its place may not."""
    versions = sorted(Path("~/.pyenv/versions").expanduser().glob("*/bin"))
    for folder in (Path("/usr/bin"), Path("/usr/local/bin"), *versions):
        if os.access(folder / name, os.X_OK):
            return str(folder / name)
    return None


def test_ship__another_server_took_the_port__waits_for_its_own(
    agent_task: AgentTask, receiver: TaskReceiver, tmp_path: Path
) -> None:
    gone = (404, {"code": "not_found", "message": "There is no such run."})
    receiver.trouble = Failing(gone, "", times=1 << 30)
    announced = json.loads(agent_task.server_file.read_text())
    dead = subprocess.Popen(["true"])
    dead.wait()
    agent_task.server_file.write_text(json.dumps({**announced, "pid": dead.pid}))
    process = agent_task.start(python(LINES))
    wait_until(lambda: len(receiver.requests) > 2, what="requests that miss")
    assert agent_task.document("done.json") is None
    receiver.stop()
    receiver.trouble = lambda _: None
    receiver.start()
    assert process.wait(60) == 0, agent_task.errors
    check_all_arrived(agent_task)
