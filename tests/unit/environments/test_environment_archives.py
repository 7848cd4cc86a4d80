"""Environments from the object store: other machines fetch what one has built."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import os
import platform
import random
import shutil
import subprocess
import sys
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard

import seafloor
from package_shelf import Shelf
from seafloor.domain.environments import EnvironmentLock, environment_digest
from seafloor.domain.errors import NotFound, SourceError, StoreUnavailable
from seafloor.domain.ids import Sha256
from seafloor.environments import site
from seafloor.environments.archive import (
    FRAME_BYTES_MAX,
    Damaged,
    Frame,
    NotMovable,
    Packed,
    Unpacking,
    list_folder,
    pack,
)
from seafloor.environments.build import BuiltEnvironment, EnvironmentCache
from seafloor.environments.bytecode import compile_modules
from seafloor.environments.interpreters import Interpreter, platform_tag
from seafloor.environments.record import RECORD_NAME
from seafloor.environments.stored import TAR_FORMAT, EnvironmentArchives, StoredEnvironment
from seafloor.environments.tar_archive import unpack_tar
from seafloor.environments.uv_command import PackageSource
from seafloor.stores.objects.protocol import ObjectStore
from seafloor.testing.object_fault import Fault, FaultObjectStore, Operation

GOLDEN = Path(__file__).parent / "golden" / "environment-1.tar.zst"
"""What the version that wrote format 1 stored."""

NOTHING = PackageSource(offline=True)
"""A package index that is out of reach."""


def lock_of(*lines: str) -> EnvironmentLock:
    python, tag = platform.python_version(), platform_tag()
    lock = "".join(f"{line}\n" for line in sorted(lines))
    digest = environment_digest(python=python, platform=tag, lock=lock)
    return EnvironmentLock(python=python, platform=tag, lock=lock, digest=digest)


def machine(
    folder: Path,
    objects: ObjectStore,
    packages: PackageSource = NOTHING,
    *,
    size_max_bytes: int | None = None,
) -> EnvironmentCache:
    """The environments of a machine of its own."""
    return EnvironmentCache(
        folder,
        packages=packages,
        archives=EnvironmentArchives(objects),
        size_max_bytes=size_max_bytes,
    )


def printed_by(*command: str | Path) -> str:
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    return done.stdout.strip()


async def stored(
    tmp_path: Path, objects: ObjectStore, shelf: Shelf
) -> tuple[EnvironmentLock, BuiltEnvironment]:
    """An environment that a first machine has built and stored."""
    shelf.add("whale", "2.0", script="sing", size_bytes=3_000_000)
    lock = lock_of("whale==2.0")
    first = machine(tmp_path / "first", objects, shelf.source)
    built = await first.get(lock)
    await first.settle()
    return lock, built


async def archive_key(objects: ObjectStore, digest: str) -> str:
    page = await objects.list(f"environments/{digest}")
    (key,) = [one.key for one in page.objects if one.key.endswith(".frames")]
    return key


async def test_get__stored_by_another_machine__is_fetched_without_any_index(
    tmp_path: Path, objects: ObjectStore, shelf: Shelf
) -> None:
    lock, built = await stored(tmp_path, objects, shelf)
    told: list[str] = []
    second = machine(tmp_path / "second", objects)
    fetched = await second.get(lock, told.append)
    assert (built.fetched, fetched.fetched, fetched.cached) == (False, True, False)
    assert printed_by(fetched.python_path, "-c", "import whale; print(whale.version)") == "2.0"
    # A script names the folder it is in, not the one that it was built in.
    assert printed_by(fetched.path / "bin" / "sing") == "2.0"
    assert str(built.path) not in (fetched.path / "bin" / "sing").read_text()
    assert (fetched.path / "bin" / "sing").read_bytes().startswith(b"#!")
    assert len(told) == 1
    assert told[0].startswith("fetching environment")
    assert set(list_folder(fetched.path)) == set(list_folder(built.path))
    sizes = [path.lstat().st_size for path in fetched.path.rglob("*") if path.name != RECORD_NAME]
    folders = [path.lstat().st_size for path in fetched.path.rglob("*/") if not path.is_symlink()]
    assert await second.size_bytes(lock.digest) == sum(sizes) - sum(folders)


async def test_get__skeleton_cannot_be_made_while_frames_arrive__says_so_and_keeps_nothing(
    tmp_path: Path, objects: ObjectStore, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, _built = await stored(tmp_path, objects, shelf)

    async def nowhere(*_args: object, **_kwargs: object) -> Interpreter:
        raise SourceError("there is no Python", field="python")

    monkeypatch.setattr(site, "find_interpreter", nowhere)
    with pytest.raises(SourceError, match="no Python"):
        await machine(tmp_path / "second", objects).get(lock)
    assert not (tmp_path / "second" / lock.digest).exists()


_COMPILED = """
import importlib.util, marshal, sys, whale
data = open(whale.__cached__, "rb").read()
flags = int.from_bytes(data[4:8], "little")
same = data[8:16] == importlib.util.source_hash(open(whale.__file__, "rb").read())
print(flags, same, marshal.loads(data[16:]).co_filename)
print(whale.main.__code__.co_filename == whale.__file__)
"""


async def test_get__fetched__modules_are_compiled_and_a_changed_source_counts(
    tmp_path: Path, objects: ObjectStore, shelf: Shelf
) -> None:
    shelf.add("whale", "2.0", script="sing")
    lock = lock_of("whale==2.0")
    first = machine(tmp_path / "first", objects, shelf.source)
    built = await first.get(lock)
    (module,) = built.path.rglob("whale.py")
    left = module.parent / "__pycache__" / "left_by_a_run.pyc"
    left.parent.mkdir(exist_ok=True)
    left.write_bytes(b"anything")
    await first.settle()

    fetched = await machine(tmp_path / "second", objects).get(lock)

    (source,) = fetched.path.rglob("whale.py")
    compiled = {path.name for path in (source.parent / "__pycache__").glob("*")}
    assert f"whale.{sys.implementation.cache_tag}.pyc" in compiled
    assert left.name not in compiled
    # Checked against its source by its hash; it names a path in the environment, no folder.
    said = printed_by(fetched.python_path, "-B", "-c", _COMPILED).split()
    assert said == ["3", "True", str(source.relative_to(fetched.path)), "True"]
    source.write_text(source.read_text().replace("2.0", "2.1"))
    os.utime(source, (0, 0))
    assert printed_by(fetched.python_path, "-c", "import whale; print(whale.version)") == "2.1"


async def test_compile__what_is_no_module__is_left_out_and_the_rest_is_there(
    tmp_path: Path,
) -> None:
    for name, text in {
        "good.py": "x = 1\n",
        "of_another_python.py": "print 1\n",
        "nul.py": "\0",
        "größe/ü.py": "y = 2\n",
    }.items():
        path = tmp_path / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    paths = ["good.py", "of_another_python.py", "nul.py", "größe/ü.py", "gone.py"]
    found = await compile_modules(
        Path(sys.executable), tmp_path / "folder", paths, into=tmp_path / "into"
    )
    tag = sys.implementation.cache_tag
    assert set(found) == {f"__pycache__/good.{tag}.pyc", f"größe/__pycache__/ü.{tag}.pyc"}
    assert all(path.is_file() for path in found.values())
    nothing = await compile_modules(
        Path(sys.executable), tmp_path / "folder", ["gone.py"], into=tmp_path / "nothing"
    )
    assert nothing == {}


async def test_get__archive_damaged__is_built_and_stored_anew(
    tmp_path: Path, objects: ObjectStore, shelf: Shelf
) -> None:
    lock, _ = await stored(tmp_path, objects, shelf)
    key = await archive_key(objects, lock.digest)
    data = b"".join([chunk async for chunk in objects.read(key)])
    await objects.put(key, data[:-100] + bytes(100))

    told: list[str] = []
    second = machine(tmp_path / "second", objects, shelf.source)
    assert not (await second.get(lock, told.append)).fetched
    assert "built here" in told[1]
    await second.settle()
    assert (await machine(tmp_path / "third", objects).get(lock)).fetched


async def test_get__archive_damaged_and_index_away__keeps_nothing(
    tmp_path: Path, objects: ObjectStore, shelf: Shelf
) -> None:
    lock, _ = await stored(tmp_path, objects, shelf)
    await objects.put(await archive_key(objects, lock.digest), b"")
    second = machine(tmp_path / "second", objects)
    with pytest.raises(SourceError):
        await second.get(lock)
    assert not (tmp_path / "second" / lock.digest).exists()


async def test_get__archive_lost__is_built(
    tmp_path: Path, objects: ObjectStore, shelf: Shelf
) -> None:
    lock, _ = await stored(tmp_path, objects, shelf)
    await objects.delete(await archive_key(objects, lock.digest))
    second = machine(tmp_path / "second", objects, shelf.source)
    assert not (await second.get(lock)).fetched
    await second.settle()
    assert (await machine(tmp_path / "third", objects).get(lock)).fetched


async def test_store__two_machines_at_once__one_archive_stays(
    tmp_path: Path, objects: ObjectStore, shelf: Shelf
) -> None:
    shelf.add("whale", "2.0")
    lock = lock_of("whale==2.0")
    machines = [machine(tmp_path / name, objects, shelf.source) for name in ("first", "second")]
    for one in machines:
        await one.get(lock)
    for one in machines:
        await one.settle()
    await archive_key(objects, lock.digest)
    assert (await machine(tmp_path / "third", objects).get(lock)).fetched


async def test_store__binary_that_names_its_place__is_not_stored(
    tmp_path: Path, objects: ObjectStore
) -> None:
    folder = tmp_path / "built"
    folder.mkdir()
    (folder / "tool").write_bytes(b"\x7fELF\0" + bytes(folder) + b"\0")
    with pytest.raises(Exception, match="tool names the folder"):
        pack(folder, tmp_path / "archive", skeleton={}, built=list_folder(folder))


async def test_pack__changed_since_it_was_built__is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "built"
    folder.mkdir()
    (folder / "module.py").write_text("a = 1")
    built = list_folder(folder)
    (folder / "module.py").write_text("a = 22")
    with pytest.raises(Exception, match=r"module\.py was changed"):
        pack(folder, tmp_path / "archive", skeleton={}, built=built)


BAD_NAMES = ["files/../x", "files//x", "other/x", "files/", "/x", "files/a/./x", "files/x\0"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_unpack__path_that_leaves_the_folder__is_refused(tmp_path: Path, name: str) -> None:
    refused(tmp_path, {"name": name, "size": 1}, b"a")
    assert not list(tmp_path.rglob("x"))


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "files/a", "link": "../../x"},
        {"name": "files/a", "link": "/etc/passwd"},
        {"name": "files/a", "size": 2},
        {"name": "files/a", "size": -1},
        {"name": "files/a", "size": 1, "start": 1, "total": 1},
        {"name": "files/a", "size": 1, "start": -1, "total": 1},
        {"name": "files/a", "size": 1, "start": 0, "total": 2},
        {"name": "files/a", "mode": 1},
    ],
    ids=str,
)
def test_unpack__entry_that_cannot_be__is_refused(tmp_path: Path, entry: dict[str, object]) -> None:
    refused(tmp_path, entry, b"a")


def refused(folder: Path, entry: dict[str, object], content: bytes) -> None:
    heading = msgspec.json.encode([entry])
    data = zstandard.compress(len(heading).to_bytes(4, "big") + heading + content)
    (folder / "in").mkdir()
    unpacking = Unpacking(folder / "in", folder / "packages")
    with pytest.raises(Damaged):
        unpack(unpacking, data)


def unpack(unpacking: Unpacking, data: bytes) -> None:
    unpacking.frame(data, frame_of(data))
    unpacking.end()


def frame_of(data: bytes) -> Frame:
    return Frame(len(data), hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no frame",
        zstandard.compress(b""),
        zstandard.compress(b"\xff\xff\xff\xff[]"),
        zstandard.compress(b"\0\0\0\2{}"),
        zstandard.compress(bytes(FRAME_BYTES_MAX + 1)),
        zstandard.compress(b"\0\0\0\2[]")[:-1],
    ],
    ids=["empty", "text", "nothing", "long heading", "no list", "too large", "cut"],
)
def test_unpack__frame_that_is_none__is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(Damaged):
        Unpacking(tmp_path, tmp_path).frame(data, frame_of(data))


def test_unpack__link_into_another_folder__no_file_goes_through_it(tmp_path: Path) -> None:
    entries = [{"name": "files/a", "link": "b"}, {"name": "files/a/x", "size": 1}]
    heading = msgspec.json.encode(entries)
    data = zstandard.compress(len(heading).to_bytes(4, "big") + heading + b"1")
    (tmp_path / "b").mkdir()
    unpacking = Unpacking(tmp_path, tmp_path)
    unpacking.frame(data, frame_of(data))
    assert not (tmp_path / "b" / "x").exists()


@pytest.mark.parametrize("backwards", [False, True])
def test_unpack__frames_in_any_order_in_threads__is_what_was_packed(
    tmp_path: Path, backwards: bool
) -> None:
    folder = tmp_path / "built"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").write_text("skeleton")
    skeleton = list_folder(folder)
    large = random.Random(0).randbytes(9_000_001)
    small = {f"m{at}.py": large[at * 1_000 : at * 2_000] for at in range(300)}  # some ten frames
    for name, data in small.items():
        (folder / name).write_bytes(data)
    (folder / "large.so").write_bytes(large)
    (folder / "large.so").chmod(0o755)
    (folder / "empty").touch()
    (folder / "deep" / "größe").mkdir(parents=True)
    (folder / "deep" / "größe" / "link").symlink_to("../../large.so")
    (folder / "script").write_text(f"#!{folder}/bin/python\n")
    archive = tmp_path / "archive"
    packed = pack(folder, archive, skeleton=skeleton, built=list_folder(folder))
    assert len(packed.frames) > 3
    into = tmp_path / "another place"
    into.mkdir()
    unpacking = Unpacking(into, tmp_path / "packages")
    frames = list(zip(split(archive.read_bytes(), packed), packed.frames, strict=True))
    if backwards:
        frames.reverse()
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(unpacking.frame, *zip(*frames, strict=True)))
    unpacking.end()
    assert set(list_folder(into)) == set(list_folder(folder)) - {"bin/python"}
    assert (into / "script").read_text() == f"#!{into}/bin/python\n"
    assert str((into / "deep" / "größe" / "link").readlink()) == "../../large.so"
    assert (into / "large.so").read_bytes() == large
    assert os.access(into / "large.so", os.X_OK)
    assert not os.access(into / "m1.py", os.X_OK)
    assert all((into / name).read_bytes() == data for name, data in small.items())


def test_unpack__skeleton_still_being_made__writes_when_it_is_there_and_not_if_given_up(
    tmp_path: Path,
) -> None:
    heading = msgspec.json.encode([{"name": "files/a", "size": 1}])
    data = zstandard.compress(len(heading).to_bytes(4, "big") + heading + b"1")
    begun, given_up = tmp_path / "begun", tmp_path / "given up"
    begun.mkdir()
    (begun / "a").write_bytes(b"of the skeleton")
    given_up.mkdir()
    first = Unpacking(begun, tmp_path, waits=True)
    second = Unpacking(given_up, tmp_path, waits=True)
    with ThreadPoolExecutor(2) as threads:
        running = [threads.submit(each.frame, data, frame_of(data)) for each in (first, second)]
        assert (begun / "a").read_bytes() == b"of the skeleton"
        first.begin(list_folder(begun))
        second.give_up()
        for each in running:
            each.result(timeout=60)
    assert (begun / "a").read_bytes() == b"1"
    assert first.size_bytes == 1
    assert list(given_up.iterdir()) == []


def split(data: bytes, packed: Packed) -> list[bytes]:
    ends = list(accumulate(frame.size_bytes for frame in packed.frames))
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


async def test_get__stored_in_format_1__is_fetched(tmp_path: Path, objects: ObjectStore) -> None:
    lock = lock_of("whale==2.0")
    data = GOLDEN.read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    record = StoredEnvironment(
        format=TAR_FORMAT,
        digest=lock.digest,
        python=lock.python,
        platform=lock.platform,
        lock=lock.lock,
        sha256=sha256,
        size_bytes=len(data),
        created_ns=1,
    )
    text = msgspec.to_builtins(record)
    del text["frames"], text["package_frames"]  # that version knew none
    folder = f"environments/{lock.digest}"
    await objects.put(f"{folder}/{sha256}.tar.zst", data)
    await objects.put(f"{folder}/environment.json", msgspec.json.encode(text))
    fetched = await machine(tmp_path / "second", objects).get(lock)
    assert fetched.fetched
    site = fetched.path / "lib" / "python3.11" / "site-packages"
    assert (site / "whale.txt").read_text().startswith("Metadata-Version")
    assert len([path for path in site.rglob("größe.txt") if path.read_text() == "far down\n"]) == 1
    if sys.version_info[:2] == (3, 11):  # those modules are where Python 3.11 has them
        assert printed_by(fetched.path / "bin" / "sing") == "2.0"


def test_unpack_tar__path_that_leaves_the_folder__is_refused(tmp_path: Path) -> None:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("files/../x"), io.BytesIO())
    archive = tmp_path / "archive"
    archive.write_bytes(zstandard.compress(plain.getvalue()))
    (tmp_path / "in").mkdir()
    with pytest.raises(Damaged):
        unpack_tar(archive, tmp_path / "in")
    assert not list(tmp_path.rglob("x"))


async def test_get__machine_crashed_before_it_was_on_the_disk__is_fetched_anew(
    tmp_path: Path, objects: ObjectStore, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, _ = await stored(tmp_path, objects, shelf)
    second = machine(tmp_path / "second", objects)
    with monkeypatch.context() as patch:
        # Killed before it could see to that.
        patch.setattr(EnvironmentCache, "_settle_on_disk", done_nothing)
        fetched = await second.get(lock)
        await second.settle()
    assert await second.find(lock.digest) is not None
    record = fetched.path / RECORD_NAME
    text = record.read_bytes()
    record.write_bytes(text.replace(current_boot().encode(), b"another start of the machine"))
    assert record.read_bytes() != text
    assert await second.find(lock.digest) is None
    assert (await second.get(lock)).fetched
    await second.settle()
    assert current_boot().encode() not in record.read_bytes()


async def done_nothing(*_: object) -> None:
    pass


def current_boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


async def test_remove__stored__leaves_the_object_store_too(
    tmp_path: Path, objects: ObjectStore, shelf: Shelf
) -> None:
    lock, _ = await stored(tmp_path, objects, shelf)
    await machine(tmp_path / "second", objects).remove(lock.digest)
    assert (await objects.list("environments")).objects == ()


async def test_limit__exceeded__removes_what_was_not_used_for_longest(
    tmp_path: Path, objects: ObjectStore, shelf: Shelf
) -> None:
    locks = [lock_of(f"whale{at}==1.0") for at in range(3)]
    for at in range(3):
        shelf.add(f"whale{at}", "1.0", size_bytes=20_000_000)
    cache = machine(tmp_path / "here", objects, shelf.source, size_max_bytes=60_000_000)
    await cache.get(locks[0])
    await cache.get(locks[1])
    await cache.settle()
    await cache.get(locks[0])  # so the second is the one that was not used for longest
    await cache.get(locks[2])
    await cache.settle()
    kept = {record.digest for record in await cache.list()}
    assert kept == {locks[0].digest, locks[2].digest}
    assert (await cache.get(locks[1])).fetched


async def test_limit__exceeded_by_what_is_in_use__removes_nothing(
    tmp_path: Path, objects: ObjectStore, shelf: Shelf
) -> None:
    shelf.add("whale", "2.0")
    run = tmp_path / "run"
    run.mkdir()
    cache = machine(tmp_path / "here", objects, shelf.source, size_max_bytes=1)
    built = await cache.get(lock_of("whale==2.0"), user=run)
    await cache.settle()
    assert await cache.remove(built.digest) == 0
    assert (await cache.get(lock_of("whale==2.0"))).cached
    run.rmdir()
    assert await cache.remove(built.digest) > 0
    assert await cache.find(built.digest) is None


# Fetches as a server would, from a folder of objects, and says when it has begun.
FETCHING = """
import asyncio, pathlib, sys
import msgspec
from seafloor.domain.environments import EnvironmentLock
from seafloor.environments.bytecode import compile_modules
from seafloor.environments.build import EnvironmentCache
from seafloor.environments.stored import EnvironmentArchives
from seafloor.environments.uv_command import PackageSource
from seafloor.stores.objects.local.store import LocalObjectStore

async def fetch(root, objects, lock):
    cache = EnvironmentCache(
        pathlib.Path(root),
        packages=PackageSource(offline=True),
        archives=EnvironmentArchives(LocalObjectStore(pathlib.Path(objects))),
    )
    told = lambda sentence: print(sentence, flush=True)
    await cache.get(msgspec.json.decode(lock, type=EnvironmentLock), told)

asyncio.run(fetch(*sys.argv[1:]))
"""


@pytest.mark.parametrize("objects", ["folder"], indirect=True)
async def test_get__killed_while_it_fetches__next_fetches_whole(
    tmp_path: Path, objects: ObjectStore, shelf: Shelf
) -> None:
    lock, built = await stored(tmp_path, objects, shelf)
    root = tmp_path / "second"
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    moments = random.Random(seed)
    for _ in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", FETCHING, root, tmp_path / "objects", msgspec.json.encode(lock)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(seafloor.__file__).parents[1])},
        )
        assert process.stdout is not None
        said = process.stdout.readline()
        while said.startswith("waiting for another"):  # a child of the one that was killed lives
            said = process.stdout.readline()
        assert said.startswith("fetching")
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moments.uniform(0, 0.4))
        process.kill()
        process.communicate(timeout=60)
        found = await machine(root, objects).find(lock.digest)
        if found is not None:  # it was faster: begin anew
            assert set(list_folder(found.path)) == set(list_folder(built.path))
            shutil.rmtree(found.path)
    fetched = await machine(root, objects).get(lock)
    assert fetched.fetched
    assert set(list_folder(fetched.path)) == set(list_folder(built.path))
    assert printed_by(fetched.path / "bin" / "sing") == "2.0"


async def test_store__not_built_yet__is_stored_and_fetched_where_nothing_is_built(
    tmp_path: Path, objects: ObjectStore, shelf: Shelf
) -> None:
    shelf.add("whale", "2.0")
    lock = lock_of("whale==2.0")
    server = machine(tmp_path / "first", objects, shelf.source)
    record = await server.store(lock)
    assert (record.digest, record.sha256) == (lock.digest, (await server.store(lock)).sha256)
    pod = EnvironmentCache(
        tmp_path / "pod", archives=EnvironmentArchives(objects), packages=NOTHING, builds=False
    )
    assert (await pod.get(record)).fetched
    with pytest.raises(SourceError, match="cannot be fetched"):
        await pod.get(lock_of("whale==2.0", "other==1"))


async def test_store__built_by_who_did_not_come_to_store_it__is_stored(
    tmp_path: Path, objects: ObjectStore, shelf: Shelf
) -> None:
    shelf.add("whale", "2.0")
    lock = lock_of("whale==2.0")
    await EnvironmentCache(tmp_path / "first", packages=shelf.source).get(lock)
    record = await machine(tmp_path / "first", objects, shelf.source).store(lock)
    assert record.digest == lock.digest
    assert (await machine(tmp_path / "second", objects).get(lock)).fetched


async def test_store__asked_for_while_it_is_being_stored__waits_and_leaves_it_here(
    tmp_path: Path, objects: ObjectStore, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    packing, go_on = threading.Event(), threading.Event()

    def slow(*arguments: Any, **named: Any) -> Packed:
        packing.set()
        assert go_on.wait(60)
        return pack(*arguments, **named)

    monkeypatch.setattr("seafloor.environments.build.pack", slow)
    shelf.add("whale", "2.0")
    lock = lock_of("whale==2.0")
    server = machine(tmp_path / "first", objects, shelf.source)
    async with asyncio.TaskGroup() as both:
        both.create_task(server.store(lock))
        assert await asyncio.to_thread(packing.wait, 60)
        both.create_task(server.store(lock))
        await asyncio.sleep(0)  # it has begun to ask
        go_on.set()
    assert await server.find(lock.digest) is not None


async def test_store__cannot_be_moved__says_so(
    tmp_path: Path, objects: ObjectStore, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object, **_named: object) -> Packed:
        raise NotMovable("its binary names the folder")

    monkeypatch.setattr("seafloor.environments.build.pack", refuse)
    shelf.add("whale", "2.0")
    words = "cannot be brought to other machines: its binary names the folder"
    with pytest.raises(SourceError, match=words):
        await machine(tmp_path / "first", objects, shelf.source).store(lock_of("whale==2.0"))


async def test_store__object_store_takes_nothing__says_so_and_is_stored_when_it_does(
    tmp_path: Path, objects: ObjectStore, shelf: Shelf
) -> None:
    shelf.add("whale", "2.0")
    lock = lock_of("whale==2.0")
    faulty = FaultObjectStore(objects)
    server = machine(tmp_path / "first", faulty, shelf.source)
    faulty.plant(Fault(StoreUnavailable("It is read-only just now."), operation=Operation.PUT))
    tries = await asyncio.gather(*(server.store(lock) for _ in range(2)), return_exceptions=True)
    assert [str(one) for one in tries] == ["It is read-only just now."] * 2
    assert (await server.store(lock)).digest == lock.digest


async def test_file__of_a_stored_environment__is_record_or_archive_and_nothing_else(
    tmp_path: Path, objects: ObjectStore, shelf: Shelf
) -> None:
    lock, _ = await stored(tmp_path, objects, shelf)
    archives = EnvironmentArchives(objects)
    record = await archives.find(lock.digest)
    assert record is not None
    found = await archives.file(Sha256(lock.digest), f"{record.sha256}.frames")
    data = b"".join([chunk async for chunk in found.data])
    assert (len(data), hashlib.sha256(data).hexdigest()) == (found.size_bytes, record.sha256)
    for name in ("../x", "x", "environment.json/..", "environment.json\n"):
        with pytest.raises(NotFound):
            await archives.file(Sha256(lock.digest), name)
