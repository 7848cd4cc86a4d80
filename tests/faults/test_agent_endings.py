"""How commands end: by themselves, by signals, by limits, or never having been started."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from agent_world import AgentTask, is_alive, pids_below, state_of, wait_until


def python(code: str) -> list[str]:
    """A command that runs Python."""
    return [sys.executable, "-c", code]


STUBBORN = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: print("not yet"))
print("ready")
while True:
    time.sleep(0.05)
"""


def wait_for_line(task: AgentTask, text: bytes) -> None:
    wait_until(lambda: text in task.printed_on_disk(), what=repr(text))


@pytest.mark.parametrize(
    ("command", "exit_code", "said"),
    [
        (["no-such-program"], 127, 'no program "no-such-program" on the PATH'),
        (["./no/such"], 127, "There is no program ./no/such in"),
        (["/etc/passwd"], 126, "/etc/passwd may not be executed"),
        (["/etc"], 126, "/etc may not be executed"),
        (["./text"], 126, "no program that this machine can run"),
        (["./bad-interpreter"], 127, "first line of ./bad-interpreter names does not exist"),
        (["echo", "a\0b"], 126, "cannot be executed: Invalid argument"),
    ],
)
def test_exec__program_that_cannot_be_executed__says_why(
    agent_task: AgentTask, command: list[str], exit_code: int, said: str
) -> None:
    work = agent_task.folder / "work"
    for name, content in (("text", "\x01\x02 nothing"), ("bad-interpreter", "#!/no/such/sh\n")):
        (work / name).write_text(content)
        (work / name).chmod(0o755)
    ending = agent_task.run(command)["ending"]
    assert ending["exit_code"] == exit_code
    assert said in ending["reason"]
    assert agent_task.received.said() == [ending["reason"]]
    assert agent_task.received.starts == []


@pytest.mark.parametrize(
    ("cwd", "exit_code"), [("gone", 127), ("task/task.json", 126)], ids=["missing", "a file"]
)
def test_exec__folder_that_cannot_be_entered__says_why(
    agent_task: AgentTask, cwd: str, exit_code: int
) -> None:
    path = agent_task.folder / cwd
    ending = agent_task.run("true", cwd=str(path))["ending"]
    assert ending["exit_code"] == exit_code
    assert ending["reason"].startswith(f"The working folder {path} cannot be used")


def test_exec__unicode_everywhere__command_folder_and_variables(
    agent_task: AgentTask, tmp_path: Path
) -> None:
    folder = tmp_path / "Ünïcødé ⛵ 文件夹"
    folder.mkdir()
    end = agent_task.run("pwd; echo $WÄRT 2>&1; echo ✓", cwd=str(folder), env={"X": "ö"})
    assert end["ending"]["exit_code"] == 0
    assert f"{folder}\n".encode() in agent_task.received.printed(0)
    assert "✓\n".encode() in agent_task.received.printed(0)


@pytest.mark.parametrize(
    ("command", "exit_code", "reason"),
    [
        ("exit 0", 0, ""),
        ("exit 7", 7, ""),
        ("no-such-program", 127, "Exit code 127: the shell found no such program"),
        ("sh -c 'kill -9 $$'; exit $?", 137, "the shell says that SIGKILL ended the program"),
        (["sh", "-c", "exit 200"], 200, ""),
    ],
)
def test_exec__exit_code__reported_as_it_is(
    agent_task: AgentTask, command: str | list[str], exit_code: int, reason: str
) -> None:
    ending = agent_task.run(command)["ending"]
    assert (ending["exit_code"], ending["signal"]) == (exit_code, None)
    assert reason in ending["reason"]
    assert bool(reason) == bool(ending["reason"])


def test_exec__task_killed__signal_is_shown_and_lines_are_kept(agent_task: AgentTask) -> None:
    process = agent_task.start(python("import time; print('here', flush=True); time.sleep(600)"))
    wait_for_line(agent_task, b"here\n")
    os.kill(agent_task.command_pid(), signal.SIGKILL)
    assert process.wait(60) == 0
    assert agent_task.end["ending"] == {
        "reason": "",
        "exit_code": None,
        "signal": "SIGKILL",
        "timed_out": False,
        "memory_exceeded": False,
    }
    assert agent_task.received.printed(0) == b"here\n"


def test_stop__command_that_ends_at_once__stopped_with_what_it_said(agent_task: AgentTask) -> None:
    code = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit("saved"))
print("ready")
while True:
    time.sleep(0.05)
"""
    process = agent_task.start(python(code))
    wait_for_line(agent_task, b"ready\n")
    agent_task.stop()
    assert process.wait(60) == 0
    assert agent_task.end["ending"]["exit_code"] == 1
    assert agent_task.end["ending"]["reason"].startswith("Stopped as asked")
    assert agent_task.received.printed(1) == b"saved\n"


def test_stop__command_ignores_sigterm__killed_after_the_grace(agent_task: AgentTask) -> None:
    process = agent_task.start(python(STUBBORN), grace_s=3.0)
    wait_for_line(agent_task, b"ready\n")
    agent_task.stop()
    assert process.wait(60) == 0
    assert agent_task.received.printed(0) == b"ready\nnot yet\n"
    ending = agent_task.end["ending"]
    assert (ending["signal"], ending["exit_code"]) == ("SIGKILL", None)
    assert ending["reason"] == "Stopped as asked; the command ended by SIGKILL."


def test_stop__shell_dies_and_its_child_saves__child_has_the_grace(agent_task: AgentTask) -> None:
    # The shell dies of SIGTERM at once; the training below it takes its time to save.
    code = (
        "import signal, sys, time\n"
        "def save(*_):\n"
        "    time.sleep(1)\n"
        "    print('saved')\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, save)\n"
        "print('ready')\n"
        "while True: time.sleep(0.05)\n"
    )
    (agent_task.folder / "work" / "train.py").write_text(code)
    process = agent_task.start(f"{sys.executable} train.py; true", grace_s=20.0)
    wait_for_line(agent_task, b"ready\n")
    agent_task.stop()
    assert process.wait(60) == 0
    assert agent_task.received.printed(0) == b"ready\nsaved\n"


def test_stop__command_is_stopped__goes_on_to_save(agent_task: AgentTask) -> None:
    code = (
        "import os, signal, sys\n"
        "def save(*_):\n"
        "    print('saved')\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, save)\n"
        "print('ready')\n"
        "os.kill(os.getpid(), signal.SIGSTOP)\n"
        "while True: signal.pause()\n"
    )
    process = agent_task.start(python(code), grace_s=20.0)
    wait_for_line(agent_task, b"ready\n")
    pid = agent_task.command_pid()
    wait_until(lambda: state_of(pid) == "T", what="the command to be stopped")
    agent_task.stop()
    assert process.wait(60) == 0
    assert agent_task.received.printed(0) == b"ready\nsaved\n"
    assert agent_task.end["ending"]["exit_code"] == 0


HOPPERS = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
null = os.open(os.devnull, os.O_WRONLY)
due_s = time.monotonic() + 60
for _ in range(8):
    if os.fork() == 0:
        os.dup2(null, 1)
        os.dup2(null, 2)
        while not os.path.exists("end") and time.monotonic() < due_s:
            if os.fork():
                os._exit(0)
        os._exit(0)
print("ready")
while True: time.sleep(1)
"""


def test_stop__command_forks_all_the_time__nothing_of_it_is_left(agent_task: AgentTask) -> None:
    marker = f"marker-{os.getpid()}-{agent_task.folder.name}"
    process = agent_task.start(python(f"{HOPPERS}# {marker}"), grace_s=0.5)
    try:
        wait_for_line(agent_task, b"ready\n")
        agent_task.stop()
        assert process.wait(60) == 0
        # One that hops from process to process is not seen by every look.
        assert [pids_below(marker) for _ in range(20)] == [[]] * 20
    finally:
        (agent_task.folder / "work" / "end").touch()
    assert agent_task.end["ending"]["signal"] == "SIGKILL"
    assert agent_task.received.said() == []


def test_timeout__command_runs_on__ended_and_said_so(agent_task: AgentTask) -> None:
    # A shell: what it prints it has printed long before, on a busy machine too.
    end = agent_task.run("echo x; exec sleep 600", timeout_s=2.5)
    ending = end["ending"]
    assert ending["timed_out"]
    assert ending["signal"] == "SIGTERM"
    assert "timeout of 2.5 s" in ending["reason"]
    assert agent_task.received.printed(0) == b"x\n"


def test_timeout__stubborn_tree__nothing_of_it_is_left(agent_task: AgentTask) -> None:
    marker = f"marker-{os.getpid()}-{agent_task.folder.name}"
    code = f"{STUBBORN}  # {marker}"
    shell = f'{sys.executable} -c "$CODE" & {sys.executable} -c "$CODE"; true'
    agent_task.run(shell, timeout_s=1.5, grace_s=0.5, env={"CODE": code})
    assert agent_task.end["ending"]["timed_out"]
    assert pids_below(marker) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
def test_signal__to_the_agent__reaches_the_command(
    agent_task: AgentTask, number: signal.Signals
) -> None:
    code = f"""
import signal, sys, time
def got(number, _frame):
    print("got", signal.Signals(number).name)
    sys.exit(5)
signal.signal({int(number)}, got)
print("ready")
while True:
    time.sleep(0.05)
"""
    process = agent_task.start(python(code))
    wait_for_line(agent_task, b"ready\n")
    process.send_signal(number)
    assert process.wait(60) == 0
    assert agent_task.received.printed(0) == f"ready\ngot {number.name}\n".encode()
    assert agent_task.end["ending"]["exit_code"] == 5


def test_signal__second_sigterm__kills_at_once(agent_task: AgentTask) -> None:
    process = agent_task.start(python(STUBBORN))
    wait_for_line(agent_task, b"ready\n")
    process.send_signal(signal.SIGTERM)
    wait_for_line(agent_task, b"not yet\n")
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert agent_task.end["ending"]["signal"] == "SIGKILL"


def test_memory__more_than_the_limit__killed_and_said_so(agent_task: AgentTask) -> None:
    code = """
import time
held = []
for _ in range(60):
    held.append(b"x" * (8 << 20))
    time.sleep(0.05)
time.sleep(600)
"""
    end = agent_task.run(python(code), memory_bytes=150 << 20)
    assert end["ending"]["memory_exceeded"]
    assert end["ending"]["signal"] == "SIGKILL"
    assert "157,286,400 bytes" in end["ending"]["reason"]
    (said,) = agent_task.received.said()
    assert "control group" in said


def test_memory__children_together_over_the_limit__killed(agent_task: AgentTask) -> None:
    child = f"{sys.executable} -c 'import time; x = b\"x\" * (60 << 20); time.sleep(600)'"
    end = agent_task.run(f"{child} & {child} & {child} & wait", memory_bytes=140 << 20)
    assert end["ending"]["memory_exceeded"]


def test_memory__shared_by_forks__counted_once(agent_task: AgentTask) -> None:
    code = """
import os, time
held = bytearray(os.urandom(1 << 20)) * 60
children = []
for _ in range(4):
    pid = os.fork()
    if pid == 0:
        time.sleep(2)
        os._exit(0)
    children.append(pid)
for pid in children:
    os.waitpid(pid, 0)
print("done")
"""
    end = agent_task.run(python(code), memory_bytes=140 << 20)
    assert end["ending"]["exit_code"] == 0
    assert agent_task.received.printed(0) == b"done\n"


def test_cpu__limit__threads_of_numeric_libraries_follow(agent_task: AgentTask) -> None:
    code = "import os; print(os.environ['OMP_NUM_THREADS'], len(os.sched_getaffinity(0)))"
    agent_task.run(python(code), cpu_count=1)
    threads, cpus = agent_task.received.printed(0).split()
    assert threads == b"1"
    assert len(agent_task.received.said()) == 1
    if "held to processors" in agent_task.received.said()[0]:
        assert cpus == b"1"


AGENT_OF_DRAIN = """
import sys
sys.path.insert(0, {pyz!r})
from seafloor_agent import command, supervise
supervise.DRAIN_S = {drain_s!r}
sys.exit(command.main())
"""


def with_drain_s(task: AgentTask, drain_s: float) -> None:
    """Have another time for the end of the output; 0: as if the agent did not run for as long."""
    script = task.folder / "agent.py"
    script.write_text(AGENT_OF_DRAIN.format(pyz=str(task.pyz), drain_s=drain_s))
    task.pyz = script


def test_exec__grandchild_keeps_the_pipes__ended_after_a_while_and_said(
    agent_task: AgentTask,
) -> None:
    marker = f"86400.{os.getpid()}"
    with_drain_s(agent_task, 1.0)
    process = agent_task.start(f"sleep {marker} & echo started")
    assert process.wait(60) == 0
    assert agent_task.received.printed(0) == b"started\n"
    (said,) = agent_task.received.said()
    assert "left 1 processes running" in said
    assert agent_task.end["ending"]["exit_code"] == 0
    wait_until(lambda: pids_below(marker) == [], what="its death")


def test_exec__agent_stalled_at_the_end__says_nothing_of_open_output(agent_task: AgentTask) -> None:
    with_drain_s(agent_task, 0.0)
    process = agent_task.start("while [ ! -e go ]; do sleep 0.05; done; echo done")
    command = agent_task.command_pid()
    process.send_signal(signal.SIGSTOP)
    (agent_task.folder / "work" / "go").touch()
    wait_until(lambda: not is_alive(command), what="the end of the command")
    process.send_signal(signal.SIGCONT)
    assert process.wait(60) == 0, agent_task.errors
    assert agent_task.received.printed(0) == b"done\n"
    assert agent_task.received.said() == []


def test_exec__process_of_another_session_prints_on__is_said_and_not_awaited(
    agent_task: AgentTask,
) -> None:
    with_drain_s(agent_task, 0.3)
    endless = "while printf xxxxxxxxxxxxxxxx; do :; done"
    code = f"import subprocess; subprocess.Popen(['sh', '-c', {endless!r}], start_new_session=True)"
    agent_task.run(python(code))
    (said,) = agent_task.received.said()
    assert "a process outside its session keeps its output open" in said


def test_exec__output_closed_early__its_end_is_still_awaited(agent_task: AgentTask) -> None:
    code = "import os, time; print('x', flush=True); os.close(1); os.close(2); time.sleep(1)"
    code += "; os._exit(4)"
    assert agent_task.run(python(code))["ending"]["exit_code"] == 4


def test_exec__what_the_command_gets__no_descriptor_and_no_ignored_signal(
    agent_task: AgentTask,
) -> None:
    code = """
import os, sys
print(sorted(int(fd) for fd in os.listdir("/proc/self/fd"))[:4])
print([line for line in open("/proc/self/status") if line.startswith("SigBlk")][0].split()[1])
print(os.getsid(0) == os.getpid() == os.getpgid(0), repr(sys.stdin.read()))
print(os.environ["PYTHONUNBUFFERED"])
"""
    agent_task.run([sys.executable, "-S", "-c", code])
    lines = agent_task.received.printed(0).decode().splitlines()
    # 3 is the listing itself.
    assert lines == ["[0, 1, 2, 3]", "0000000000000000", "True ''", "1"]


def test_exec__broken_pipe_in_the_command__ends_it_as_everywhere(agent_task: AgentTask) -> None:
    # Python ignores SIGPIPE; were that handed on, `yes` would complain and go on.
    agent_task.run("yes | head -n 1")
    assert agent_task.received.printed(0) == b"y\n"
    assert agent_task.received.printed(1) == b""


def test_exec__second_agent__refused_while_the_first_lives(agent_task: AgentTask) -> None:
    first = agent_task.start("while [ ! -e go ]; do sleep 0.05; done; echo once")
    agent_task.command_pid()
    assert agent_task.spawn("exec").wait(60) == 3
    assert agent_task.spawn("ship").wait(60) == 3
    (agent_task.folder / "work" / "go").touch()
    assert first.wait(60) == 0
    assert agent_task.spawn("exec").wait(60) == 4
    assert agent_task.received.printed(0) == b"once\n"


@pytest.mark.parametrize(
    "content", ["", "[]", '{"format_version": 99}', '{"format_version": 1}', "nonsense"]
)
def test_exec__damaged_task__refused_with_a_sentence(agent_task: AgentTask, content: str) -> None:
    (agent_task.task_dir / "task.json").write_text(content)
    assert agent_task.spawn("exec").wait(60) == 1
    assert agent_task.errors.startswith("agent: task.json")
    assert "Traceback" not in agent_task.errors


def test_exec__agent_and_command__die_together_when_the_agent_is_killed(
    agent_task: AgentTask,
) -> None:
    process = agent_task.start(["/bin/sleep", "600"])
    pid = agent_task.command_pid()
    process.kill()
    process.wait()
    wait_until(lambda: not is_alive(pid), what="the command's death")
