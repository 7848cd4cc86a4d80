"""Git repositories over ssh: ``git-upload-pack`` behind a server on loopback."""

from __future__ import annotations

import asyncio
import re
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import asyncssh


@dataclass
class GitSshServer:
    """Serves what lies below a folder to whoever has the key.

    Args:
        root: Folder of repositories.
        users: Names that came.
    """

    root: Path
    users: list[str] = field(default_factory=list[str])
    host_key: asyncssh.SSHKey = field(default_factory=lambda: _key())
    user_key: asyncssh.SSHKey = field(default_factory=lambda: _key())

    @property
    def private_key(self) -> bytes:
        """What a user has."""
        return self.user_key.export_private_key()

    def known_hosts(self, key: asyncssh.SSHKey | None = None) -> bytes:
        """The line of a file of known hosts."""
        public = (key or self.host_key).export_public_key().split(b" ")
        return b"[127.0.0.1]:%d " % self.port + b" ".join(public[:2]) + b"\n"

    def url(self, name: str) -> str:
        return f"ssh://git@127.0.0.1:{self.port}/{name}"

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._listening = self._in_loop(self._listen())
        self.port: int = self._listening.get_port()
        return self

    def __exit__(self, *_error: object) -> None:
        self._in_loop(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _in_loop(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _listen(self) -> asyncssh.SSHAcceptor:
        world = self

        class Server(asyncssh.SSHServer):
            def begin_auth(self, username: str) -> bool:
                world.users.append(username)
                return True

            def public_key_auth_supported(self) -> bool:
                return True

            def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
                return username == "git" and key == world.user_key.convert_to_public()

        return await asyncssh.listen(
            "127.0.0.1",
            0,
            server_factory=Server,
            server_host_keys=[self.host_key],
            process_factory=self._serve,
            encoding=None,
        )

    async def _stop(self) -> None:
        self._listening.close()
        await self._listening.wait_closed()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _serve(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        asked = re.fullmatch(r"git-upload-pack '/([\w./-]+)'", process.command or "")
        folder = self.root / asked[1] if asked else None
        if folder is None or not folder.is_dir():
            process.stderr.write(b"ERROR: Repository not found.\n")
            process.exit(1)
            return
        git = await asyncio.create_subprocess_exec(
            "git",
            "upload-pack",
            str(folder),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        taking = asyncio.create_task(_pump(process.stdin, git.stdin))
        await _pump(git.stdout, process.stdout)
        process.exit(await git.wait())
        taking.cancel()


async def _pump(source: Any, target: Any) -> None:
    while data := await source.read(1 << 16):
        target.write(data)
        await target.drain()


def _key() -> asyncssh.SSHKey:
    return asyncssh.generate_private_key("ssh-ed25519")
