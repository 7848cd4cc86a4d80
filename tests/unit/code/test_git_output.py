"""What git says is read within bounds, however much a server sends."""

from __future__ import annotations

import subprocess
import tracemalloc
from pathlib import Path

import pytest

from git_world import Repository
from seafloor.code import git
from seafloor.code.git import resolve_git
from seafloor.code.git_command import GitOptions, GitResult, run_git
from seafloor.code.git_output import WORDS_BYTES_MAX, Words, read_output
from seafloor.domain.errors import LimitExceeded, SourceError

MB = 1_000_000


@pytest.fixture
def many_refs(tmp_path: Path) -> Repository:
    """A repository of 100,000 branches."""
    made = Repository.create(tmp_path / "many")
    commit = made.commit({"train.py": "print(1)\n"})
    lines = (f"{commit} refs/heads/b{number:06}\n" for number in range(100_000))
    packed = made.path / ".git/packed-refs"
    packed.write_text("# pack-refs with: peeled fully-peeled sorted \n" + "".join(lines))
    return made


def said_by(shell: str, options: GitOptions | None = None) -> GitResult:
    """What git says of a command that only calls a shell."""
    return run_git(["-c", f"alias.say=!{shell}", "say"], options=options or GitOptions())


def test_run_git__much_on_standard_error__keeps_beginning_and_end_in_little_memory() -> None:
    tracemalloc.start()
    try:
        said = said_by("seq 1 3000000 >&2; exit 3; :")
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert said.code == 3
    assert said.stderr.startswith("1\n2\n")
    assert said.stderr.endswith("\n2999999\n3000000\n")
    assert "\n[…]\n" in said.stderr
    assert len(said.stderr) <= 4 * WORDS_BYTES_MAX
    assert peak_bytes < 4 * MB


def test_run_git__endless_standard_output__is_ended_with_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    process: list[subprocess.Popen[bytes]] = []

    def read(given: subprocess.Popen[bytes], **options: object) -> tuple[bytes, bytes]:
        process.append(given)
        return read_output(given, timeout_s=60, stdout_bytes_max=MB)

    monkeypatch.setattr("seafloor.code.git_command.read_output", read)

    with pytest.raises(LimitExceeded, match="git said more than 1 MB"):
        said_by("yes; :")

    assert process[0].returncode is not None  # nothing goes on behind our back


def test_run_git__watch_says_no_while_git_speaks__ends_it() -> None:
    class FullError(Exception):
        pass

    def watch() -> None:
        raise FullError

    with pytest.raises(FullError):
        said_by("yes >&2; :", GitOptions(watch=watch))


def test_run_git__much_to_read_and_much_to_say__neither_waits_for_the_other() -> None:
    told = b"0123456789abcde\n" * 100_000

    assert said_by("cat", GitOptions(stdin=told)).stdout == told


def test_run_git__command_that_does_not_read__is_no_error() -> None:
    said = said_by("exec <&-; echo done; :", GitOptions(stdin=bytes(MB)))

    assert (said.code, said.text) == (0, "done")


def test_words__gap__has_no_half_line_beside_it() -> None:
    words = Words()
    secret = b"s3cr3t-s3cr3t-s3cr3t"
    line = b"url " + secret + b"\n"
    for _ in range(20_000):
        words.take(line)

    assert set(words.content.splitlines(keepends=True)) == {line, "[…]\n".encode()}


def test_words__one_line_without_end__is_kept_within_the_bound() -> None:
    words = Words()
    for _ in range(1_000):
        words.take(b"x" * 10_000)

    assert words.content == b"\n[\xe2\x80\xa6]\n"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_words__lines_written_over__are_what_a_terminal_shows(size: int) -> None:
    said = b"remote: Counting:  50%\rremote: Counting: 100%, done.\nReceiving:  1%\r" + (
        b"Receiving:  2%\rfatal: early EOF\nDenied.\r\nlast\r"
    )
    words = Words()
    for begin in range(0, len(said), size):
        words.take(said[begin : begin + size])

    assert words.content == (b"remote: Counting: 100%, done.\nfatal: early EOF\nDenied.\r\nlast\r")


def test_words__error_after_much_progress__is_kept() -> None:
    words = Words()
    for number in range(100_000):
        words.take(b"Receiving objects: %d\r" % number)
    words.take(b"fatal: early EOF\n")

    assert words.content == b"fatal: early EOF\n"


def test_resolve_git__very_many_refs__holds_none_of_them(many_refs: Repository) -> None:
    tracemalloc.start()
    try:
        found = resolve_git(str(many_refs.path), many_refs.head)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert found.commit == many_refs.head
    assert peak_bytes < 4 * MB


def test_resolve_git__ref_missing_among_very_many__names_some_at_once(
    many_refs: Repository,
) -> None:
    with pytest.raises(SourceError, match=r"Known: b000000, b000001, "):
        resolve_git(str(many_refs.path), "zzz")


def test_resolve_git__list_of_refs_beyond_the_bound__says_so(
    many_refs: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git, "REFS_BYTES_MAX", MB)

    with pytest.raises(LimitExceeded, match="more branches and tags than are looked through"):
        resolve_git(str(many_refs.path), many_refs.head)


def test_resolve_git__list_of_refs_beyond_what_git_may_hold__says_so(
    many_refs: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git, "REFS_MEMORY_BYTES_MAX", 24 * MB)

    with pytest.raises(LimitExceeded, match="more memory than git may have"):
        resolve_git(str(many_refs.path), many_refs.head)


def test_resolve_git__no_git_on_the_path__says_so(
    many_refs: Repository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(SourceError, match="git is not installed"):
        resolve_git(str(many_refs.path), None)


def test_read_output__closed_pipes_and_a_process_that_goes_on__is_watched() -> None:
    class EnoughError(Exception):
        pass

    def watch() -> None:
        if process.stderr is not None and process.stderr.closed:
            raise EnoughError

    command = ["sh", "-c", "exec >&- 2>&-; exec sleep 60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            with pytest.raises(EnoughError):
                read_output(process, timeout_s=None, watch=watch)
        finally:
            process.kill()


def test_read_output__closed_pipes_and_a_process_that_goes_on__ends_at_its_time() -> None:
    command = ["sh", "-c", "exec >&- 2>&-; exec sleep 60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            with pytest.raises(subprocess.TimeoutExpired):
                read_output(process, timeout_s=0.3)
        finally:
            process.kill()
