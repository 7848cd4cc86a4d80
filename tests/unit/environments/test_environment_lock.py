"""Locking with the real uv: packages made on the spot, and two from the real registry."""

from __future__ import annotations

import asyncio
import hashlib
import http.server
import platform
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from package_shelf import Shelf
from pip_lock import lock_pip
from seafloor.domain.environments import EnvironmentLock, environment_digest
from seafloor.domain.errors import InvalidValue, SourceError
from seafloor.environments.build import EnvironmentCache
from seafloor.environments.uv_command import PackageSource


async def test_lock__real_registry__exact_versions_and_digest(tmp_path: Path) -> None:
    lock = await lock_pip(
        python=None, pip=["six<2", "iniconfig>=2"], cache_dir=tmp_path, timeout_s=120
    )
    names = [line.partition("==")[0] for line in lock.lock.splitlines()]
    assert names == ["iniconfig", "six"]
    assert all("==" in line and " --hash=sha256:" in line for line in lock.lock.splitlines())
    assert lock.python == platform.python_version()
    assert lock.digest == environment_digest(
        python=lock.python, platform=lock.platform, lock=lock.lock
    )


async def test_lock__dependencies__are_locked_too(tmp_path: Path, shelf: Shelf) -> None:
    whale = shelf.add("whale", "2.0", requires=("krill>=1",))
    krill = shelf.add("krill", "1.4")
    shelf.add("krill", "0.9")
    lock = await lock_pip(
        python=None, pip=["whale"], cache_dir=tmp_path, timeout_s=60, packages=shelf.source
    )
    assert lock.lock == (
        f"krill==1.4 --hash=sha256:{sha256(krill)}\nwhale==2.0 --hash=sha256:{sha256(whale)}\n"
    )


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


async def test_build__file_of_the_index_replaced__is_refused(tmp_path: Path, shelf: Shelf) -> None:
    shelf.add("krill", "1.4")
    root = tmp_path / "environments"
    lock = await lock_pip(
        python=None, pip=["krill"], cache_dir=root / "uv", timeout_s=60, packages=shelf.source
    )
    shelf.add("krill", "1.4", requires=("whale",))
    with pytest.raises(SourceError, match="krill") as caught:
        await EnvironmentCache(tmp_path / "another", packages=shelf.source).get(lock)
    assert "not the file that was locked" in caught.value.message
    # A lock that an earlier version made names no sums, and is built as ever.
    old = lock.lock.partition(" --hash")[0] + "\n"
    digest = environment_digest(python=lock.python, platform=lock.platform, lock=old)
    lock = EnvironmentLock(python=lock.python, platform=lock.platform, lock=old, digest=digest)
    await EnvironmentCache(tmp_path / "another", packages=shelf.source).get(lock)


async def test_build__lock_of_all_kinds__every_sum_is_required(
    tmp_path: Path, shelf: Shelf
) -> None:
    shelf.add("krill", "1.4")
    seal = shelf.add("seal", "1.0")
    cache = EnvironmentCache(tmp_path / "environments", packages=shelf.source)
    lock = await lock_pip(
        python=None,
        pip=["krill", f"seal @ {seal.as_uri()}"],
        cache_dir=cache.uv_cache_dir,
        timeout_s=60,
        packages=shelf.source,
    )
    assert [line.count("sha256") for line in lock.lock.splitlines()] == [1, 1]
    assert not (await cache.get(lock)).cached
    await cache.settle()


async def test_lock__other_order_and_spelling__same_digest(tmp_path: Path, shelf: Shelf) -> None:
    shelf.add("whale", "2.0")
    shelf.add("krill", "1.4")
    first, second = [
        await lock_pip(
            python=None, pip=pip, cache_dir=tmp_path, timeout_s=60, packages=shelf.source
        )
        for pip in (["whale", "krill"], [" krill ", "Whale>=1", "whale"])
    ]
    assert first == second


async def test_lock__no_packages__is_empty(tmp_path: Path) -> None:
    lock = await lock_pip(python=None, pip=[], cache_dir=tmp_path, timeout_s=60)
    assert lock.lock == ""
    assert len(lock.digest) == 64


async def test_lock__python_of_the_server__by_prefix(tmp_path: Path) -> None:
    own = platform.python_version()
    for asked in (own, own.rpartition(".")[0]):
        lock = await lock_pip(python=asked, pip=[], cache_dir=tmp_path, timeout_s=60)
        assert lock.python == own


async def test_lock__python_not_here__lists_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        await lock_pip(python="3.99", pip=["six"], cache_dir=tmp_path, timeout_s=60)
    assert "Python 3.99 is not on this server" in caught.value.message
    assert platform.python_version() in caught.value.message
    assert caught.value.field == "python"


@pytest.mark.parametrize("python", ["3", "2.7", "latest", "3.11.", "-3.11", "3.11; rm", "３.11"])
async def test_lock__python_misspelt__says_how_to_write_it(tmp_path: Path, python: str) -> None:
    with pytest.raises(InvalidValue, match=r'write "3\.11" or "3\.11\.2"') as caught:
        await lock_pip(python=python, pip=[], cache_dir=tmp_path, timeout_s=60)
    assert caught.value.field == "python"


async def test_lock__unknown_package__is_named(tmp_path: Path) -> None:
    name = "seafloor-no-such-package-7f3a"
    with pytest.raises(SourceError) as caught:
        await lock_pip(python=None, pip=["six", name], cache_dir=tmp_path, timeout_s=120)
    assert name in caught.value.message
    assert "unsatisfiable" not in caught.value.message
    assert caught.value.field == "pip"
    assert caught.value.retry_after_s is None


async def test_lock__contradiction__is_explained(tmp_path: Path, shelf: Shelf) -> None:
    shelf.add("whale", "2.0", requires=("krill>=1",))
    shelf.add("krill", "0.9")
    with pytest.raises(SourceError) as caught:
        await lock_pip(
            python=None, pip=["whale"], cache_dir=tmp_path, timeout_s=60, packages=shelf.source
        )
    assert caught.value.message.startswith("The requirements cannot be met: ")
    assert "krill>=1" in caught.value.message


async def test_lock__index_out_of_reach__retry_and_no_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        index = f"http://captain:hunter2@127.0.0.1:{unused.getsockname()[1]}/simple"
        with pytest.raises(SourceError) as caught:
            await lock_pip(
                python=None,
                pip=["six"],
                cache_dir=tmp_path,
                timeout_s=60,
                packages=PackageSource(index_url=index),
            )
    error = caught.value
    assert error.message.startswith("Seafloor could not reach the package index")
    assert error.retry_after_s is not None
    for secret in ("captain", "hunter2", "127.0.0.1"):
        assert secret not in error.message + (error.detail or "")


async def test_lock__index_asks_for_a_password__says_so(tmp_path: Path) -> None:
    with _index(status=401) as url, pytest.raises(SourceError, match="asks for a password"):
        await lock_pip(
            python=None,
            pip=["six"],
            cache_dir=tmp_path,
            timeout_s=60,
            packages=PackageSource(index_url=url),
        )


async def test_lock__index_never_answers__is_stopped(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/simple"
        with pytest.raises(SourceError, match=r"after 0\.5 s and was stopped"):
            await lock_pip(
                python=None,
                pip=["six"],
                cache_dir=tmp_path,
                timeout_s=0.5,
                packages=PackageSource(index_url=url),
            )
    assert not list(tmp_path.glob("lock-*"))


async def test_lock__cancelled__leaves_no_folder(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/simple"
        locking = asyncio.create_task(
            lock_pip(
                python=None,
                pip=["six"],
                cache_dir=tmp_path,
                timeout_s=60,
                packages=PackageSource(index_url=url),
            )
        )
        connection, _ = await asyncio.to_thread(silent.accept)
        with connection:
            locking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await locking
    assert not list(tmp_path.glob("lock-*"))


async def test_lock__wheel_on_the_server__is_pinned_by_its_bytes(
    tmp_path: Path, shelf: Shelf
) -> None:
    locks = []
    for requires in ((), ("krill; python_version < '3'",)):
        path = shelf.add("whale", "2.0", requires=requires)
        lock = await lock_pip(
            python=None, pip=[str(path)], cache_dir=tmp_path, timeout_s=60, packages=shelf.source
        )
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        assert lock.lock == f"whale @ {path.as_uri()}#sha256={sha256}\n"
        locks.append(lock)
    assert locks[0].digest != locks[1].digest


async def test_lock__git_branch__is_pinned_to_its_commit(tmp_path: Path) -> None:
    repository = tmp_path / "whale"
    repository.mkdir()
    (repository / "backend.py").write_text(
        "def prepare_metadata_for_build_wheel(folder, config_settings=None):\n"
        "    import pathlib\n"
        "    info = pathlib.Path(folder, 'whale-3.0.dist-info')\n"
        "    info.mkdir()\n"
        "    text = 'Metadata-Version: 2.1\\nName: whale\\nVersion: 3.0\\n'\n"
        "    (info / 'METADATA').write_text(text)\n"
        "    return info.name\n"
        "def build_wheel(folder, config_settings=None, metadata_directory=None):\n"
        "    raise NotImplementedError\n"
    )
    (repository / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com", "-C", str(repository)]
    for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "a"]):
        subprocess.run([*git, *command], check=True)
    commit = subprocess.run(
        [*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
    lock = await lock_pip(
        python=None,
        pip=[f"whale @ git+{repository.as_uri()}@main"],
        cache_dir=tmp_path / "uv",
        timeout_s=60,
    )
    assert lock.lock == f"whale @ git+{repository.as_uri()}@{commit}\n"


async def test_lock__unicode_everywhere__works_or_is_named(tmp_path: Path, shelf: Shelf) -> None:
    shelf.add("whale", "2.0")
    folder = tmp_path / "Wörterbuch 鯨"
    lock = await lock_pip(
        python=None, pip=["whale"], cache_dir=folder, timeout_s=60, packages=shelf.source
    )
    assert lock.lock.startswith("whale==2.0 --hash=sha256:")
    with pytest.raises(InvalidValue, match="鯨") as caught:
        await lock_pip(python=None, pip=["whale", "鯨"], cache_dir=folder, timeout_s=60)
    assert caught.value.field == "pip[1]"


async def test_lock__configuration_around_the_folder__is_not_read(
    tmp_path: Path, shelf: Shelf
) -> None:
    shelf.add("whale", "2.0")
    (tmp_path / "pyproject.toml").write_text("[tool.uv]\nno-index = true\nfind-links = []\n")
    (tmp_path / "uv.toml").write_text("this is not toml")
    lock = await lock_pip(
        python=None,
        pip=["whale"],
        cache_dir=tmp_path / "data",
        timeout_s=60,
        packages=shelf.source,
    )
    assert lock.lock.startswith("whale==2.0 --hash=sha256:")


async def test_lock__progress__is_told(tmp_path: Path) -> None:
    told: list[str] = []
    await lock_pip(python=None, pip=[], cache_dir=tmp_path, timeout_s=60, progress=told.append)
    assert told == [f"choosing versions for Python {platform.python_version()}"]


@contextmanager
def _index(*, status: int) -> Iterator[str]:
    """A package index that answers everything with one status."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Keep quiet."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/simple"
        finally:
            server.shutdown()
            thread.join()
