"""Building with the real uv, in one process and in several, and what is left when one dies."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import seafloor
from package_shelf import Shelf
from pip_lock import lock_pip
from seafloor.domain.environments import EnvironmentLock, environment_digest
from seafloor.domain.errors import InvalidValue, SourceError, StoreUnavailable
from seafloor.domain.ids import Sha256
from seafloor.environments.build import EnvironmentCache
from seafloor.environments.interpreters import platform_tag
from seafloor.environments.record import RECORD_NAME

DEADLINE_S = 60.0

# Asks for an environment as a server would, and says on one line what it got.
ASKING = """
import asyncio, json, pathlib, sys
import msgspec
from seafloor.domain.environments import EnvironmentLock
from seafloor.environments.build import EnvironmentCache
from seafloor.environments.uv_command import PackageSource

async def ask(root, shelf, lock):
    told = []
    def tell(sentence):
        told.append(sentence)
        print(json.dumps({"told": sentence}), flush=True)
    cache = EnvironmentCache(
        pathlib.Path(root), packages=PackageSource(find_links=(shelf,), offline=True)
    )
    built = await cache.get(msgspec.json.decode(lock, type=EnvironmentLock), tell)
    (record,) = await cache.list()
    print(json.dumps({"build_id": record.build_id, "cached": built.cached}), flush=True)

asyncio.run(ask(*sys.argv[1:]))
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "environments"


@pytest.fixture
def cache(root: Path, shelf: Shelf) -> EnvironmentCache:
    return EnvironmentCache(root, packages=shelf.source)


@pytest.fixture
def gate(tmp_path: Path, shelf: Shelf) -> Iterator[Path]:
    """A package ``slow==1.0`` that is built once this folder holds ``go``."""
    folder = tmp_path / "gate"
    shelf.add_gated("slow", "1.0", gate=folder)
    yield folder
    (folder / "go").touch()


def lock_of(*lines: str, python: str | None = None) -> EnvironmentLock:
    python = python or platform.python_version()
    text = "".join(f"{line}\n" for line in sorted(lines))
    return EnvironmentLock(
        python=python,
        platform=platform_tag(),
        lock=text,
        digest=environment_digest(python=python, platform=platform_tag(), lock=text),
    )


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, not for ever."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.01)


def printed_by(python: Path, code: str) -> str:
    return subprocess.run(
        [python, "-c", code], check=True, capture_output=True, text=True, timeout=DEADLINE_S
    ).stdout.strip()


def ask(root: Path, shelf: Shelf, lock: EnvironmentLock) -> subprocess.Popen[str]:
    fields = {name: getattr(lock, name) for name in lock.__struct_fields__}
    return subprocess.Popen(
        [sys.executable, "-c", ASKING, str(root), str(shelf.folder), json.dumps(fields)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(seafloor.__file__).parents[1])},
    )


def answer(process: subprocess.Popen[str]) -> list[dict[str, object]]:
    output, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0
    return [json.loads(line) for line in output.splitlines()]


async def test_get__new__is_built_and_works(cache: EnvironmentCache, shelf: Shelf) -> None:
    shelf.add("whale", "2.0")
    told: list[str] = []
    built = await cache.get(lock_of("whale==2.0"), told.append)
    assert not built.cached
    assert printed_by(built.python_path, "import whale; print(whale.version)") == "2.0"
    assert printed_by(built.python_path, "import sys; print(sys.prefix)") == str(built.path)
    assert told == [f"building an environment of Python {platform.python_version()} and 1 package"]
    (record,) = await cache.list()
    assert (record.digest, record.lock) == (built.digest, "whale==2.0\n")
    assert await cache.size_bytes(built.digest) == record.size_bytes > 0


async def test_get__real_registry__is_built_from_its_lock(root: Path) -> None:
    cache = EnvironmentCache(root)
    lock = await lock_pip(
        python=None, pip=["six", "iniconfig"], cache_dir=cache.uv_cache_dir, timeout_s=120
    )
    built = await cache.get(lock)
    version = printed_by(built.python_path, "import iniconfig, six; print(six.__version__)")
    assert f"six=={version} --hash=sha256:" in lock.lock


async def test_get__no_packages__is_a_bare_python(cache: EnvironmentCache) -> None:
    built = await cache.get(lock_of())
    assert printed_by(built.python_path, "print(1)") == "1"


async def test_get__again__is_cached_within_5_ms(cache: EnvironmentCache) -> None:
    first = await cache.get(lock_of())
    durations_s: list[float] = []
    for _ in range(20):
        again = await cache.get(lock_of())
        assert again.cached
        assert again.path == first.path
        durations_s.append(again.duration_s)
    assert min(durations_s) < 0.005


async def test_get__asked_twice_at_once__is_built_once(
    cache: EnvironmentCache, shelf: Shelf, gate: Path
) -> None:
    told: list[str] = []
    asking = [asyncio.create_task(cache.get(lock_of("slow==1.0"), told.append)) for _ in range(3)]
    await until((gate / "started").exists)
    late = asyncio.create_task(cache.get(lock_of("slow==1.0"), told.append))
    await until(lambda: len(told) == 4)  # so all four wait before it can end
    (gate / "go").touch()
    built = await asyncio.gather(*asking, late)
    assert {environment.path for environment in built} == {built[0].path}
    assert not any(environment.cached for environment in built)
    # Each hears it once, also who came late.
    said = f"building an environment of Python {platform.python_version()} and 1 package"
    assert told == [said] * 4
    assert len(await cache.list()) == 1


async def test_get__two_processes__build_once(root: Path, shelf: Shelf, gate: Path) -> None:
    lock = lock_of("slow==1.0")
    processes = [ask(root, shelf, lock) for _ in range(2)]
    try:
        await until((gate / "started").exists)
        (gate / "go").touch()
        answers = [answer(process) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    # One that began late may have found it there.
    assert answers[0][-1]["build_id"] == answers[1][-1]["build_id"]
    building = [
        said
        for said in (*answers[0], *answers[1])
        if str(said.get("told")).startswith("building an environment")
    ]
    assert len(building) == 1


async def test_get__process_killed_while_it_builds__next_waits_for_its_uv_and_rebuilds(
    root: Path, shelf: Shelf, gate: Path, cache: EnvironmentCache
) -> None:
    lock = lock_of("slow==1.0")
    process = ask(root, shelf, lock)
    await until((gate / "started").exists)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=DEADLINE_S)
    assert await cache.find(lock.digest) is None

    # Its uv lives on and still writes to the folder: it holds the lock as long.
    told: list[str] = []
    asking = asyncio.create_task(cache.get(lock, told.append))
    await until(lambda: bool(told))
    assert told == [f"waiting for another build of environment {lock.digest[:12]}"]
    (gate / "go").touch()
    built = await asking
    assert printed_by(built.python_path, "import slow; print(slow.version)") == "1.0"
    assert len(await cache.list()) == 1


async def test_get__last_waiter_cancelled__stops_the_build(
    cache: EnvironmentCache, root: Path, gate: Path
) -> None:
    lock = lock_of("slow==1.0")
    asking = [asyncio.create_task(cache.get(lock)) for _ in range(2)]
    await until((gate / "started").exists)
    asking[0].cancel()
    await asyncio.wait({asking[0]})
    assert not asking[1].done()
    asking[1].cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking[1]
    assert not (root / lock.digest).exists()
    (gate / "go").touch()
    assert not (await cache.get(lock)).cached


async def test_get__package_gone__every_waiter_hears_and_nothing_stays(
    cache: EnvironmentCache, root: Path, shelf: Shelf
) -> None:
    lock = lock_of("whale==2.0")
    ended = await asyncio.gather(*[cache.get(lock) for _ in range(3)], return_exceptions=True)
    for error in ended:
        assert isinstance(error, SourceError)
        assert "whale" in error.message
    assert not (root / lock.digest).exists()
    assert await cache.list() == ()
    shelf.add("whale", "2.0")
    assert not (await cache.get(lock)).cached


async def test_get__build_takes_too_long__is_stopped(root: Path, shelf: Shelf, gate: Path) -> None:
    hasty = EnvironmentCache(root, packages=shelf.source, build_timeout_s=0.6)
    with pytest.raises(SourceError, match="was stopped"):
        await hasty.get(lock_of("slow==1.0"))
    assert await hasty.list() == ()


async def test_get__lock_of_another_platform__is_refused(cache: EnvironmentCache) -> None:
    lock = lock_of("whale==2.0")
    foreign = EnvironmentLock(
        python=lock.python,
        platform="plan9-mips",
        lock=lock.lock,
        digest=environment_digest(python=lock.python, platform="plan9-mips", lock=lock.lock),
    )
    with pytest.raises(InvalidValue, match="another kind of machine"):
        await cache.get(foreign)


async def test_get__python_gone_from_the_machine__says_which(cache: EnvironmentCache) -> None:
    with pytest.raises(SourceError, match=r"Python 3\.99\.1 is not on this server"):
        await cache.get(lock_of(python="3.99.1"))
    assert await cache.list() == ()


def _lose_python(folder: Path) -> None:
    (folder / "bin" / "python").unlink()


def _break_python(folder: Path) -> None:
    (folder / "bin" / "python").unlink()
    (folder / "bin" / "python").symlink_to("/nowhere/python")


def _lose_record(folder: Path) -> None:
    (folder / RECORD_NAME).unlink()


def _tear_record(folder: Path) -> None:
    record = folder / RECORD_NAME
    record.write_bytes(record.read_bytes()[:40])


def _replace_by_file(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        with contextlib.suppress(IsADirectoryError):
            path.unlink()
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir()
    folder.rmdir()
    folder.write_text("not a folder")


@pytest.mark.parametrize(
    "damage", [_lose_python, _break_python, _lose_record, _tear_record, _replace_by_file]
)
async def test_get__damaged__is_built_anew(
    cache: EnvironmentCache, damage: Callable[[Path], None]
) -> None:
    built = await cache.get(lock_of())
    await cache.settle()
    (before,) = await cache.list()
    damage(built.path)
    assert await cache.find(built.digest) is None
    assert await cache.size_bytes(built.digest) is None
    again = await cache.get(lock_of())
    assert not again.cached
    (after,) = await cache.list()
    assert before.build_id != after.build_id
    assert printed_by(again.python_path, "print(1)") == "1"


async def test_get__root_cannot_be_used__is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreUnavailable, match="cannot be used"):
        await EnvironmentCache(tmp_path / "file").get(lock_of())


async def test_get__unicode_root__works(tmp_path: Path, shelf: Shelf) -> None:
    shelf.add("whale", "2.0")
    cache = EnvironmentCache(tmp_path / "Umgebungen für 鯨 🐳", packages=shelf.source)
    built = await cache.get(lock_of("whale==2.0"))
    assert printed_by(built.python_path, "import whale; print(whale.version)") == "2.0"


async def test_list__two__oldest_first(cache: EnvironmentCache, root: Path, shelf: Shelf) -> None:
    assert await cache.list() == ()
    shelf.add("whale", "2.0")
    first = await cache.get(lock_of("whale==2.0"))
    second = await cache.get(lock_of())
    (root / ("f" * 64)).mkdir()
    assert [record.digest for record in await cache.list()] == [first.digest, second.digest]


async def test_remove__shared_package__stays_for_the_other(
    cache: EnvironmentCache, root: Path, shelf: Shelf
) -> None:
    for name in ("whale", "krill"):
        shelf.add(name, "1.0", size_bytes=100_000)
    one = await cache.get(lock_of("whale==1.0", "krill==1.0"))
    other = await cache.get(lock_of("krill==1.0"))
    freed_bytes = await cache.remove(one.digest)
    assert 100_000 < freed_bytes < 200_000
    assert not one.path.exists()
    assert await cache.find(one.digest) is None
    assert printed_by(other.python_path, "import krill; print(krill.version)") == "1.0"
    assert await cache.remove(other.digest) > 100_000
    left = [path for path in root.rglob("*.txt") if path.stat().st_size >= 100_000]
    assert left == []


async def test_remove__repeated_or_never_there__frees_nothing(cache: EnvironmentCache) -> None:
    built = await cache.get(lock_of())
    assert await cache.remove(built.digest) > 0
    assert await cache.remove(built.digest) == 0
    assert await cache.remove(Sha256("0" * 64)) == 0


@pytest.mark.parametrize("digest", ["", "..", "locks", "../../etc", "A" * 64])
async def test_remove__not_a_digest__is_refused(cache: EnvironmentCache, digest: str) -> None:
    with pytest.raises(InvalidValue):
        await cache.remove(digest)


async def test_remove__while_it_is_built__waits(cache: EnvironmentCache, gate: Path) -> None:
    lock = lock_of("slow==1.0")
    asking = asyncio.create_task(cache.get(lock))
    await until((gate / "started").exists)
    removing = asyncio.create_task(cache.remove(lock.digest))
    (gate / "go").touch()
    await asking
    assert await removing > 0
    assert await cache.find(lock.digest) is None
