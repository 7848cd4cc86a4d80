"""Absolute paths for one command: mounts that nobody else sees. Never needs root.

In a mount namespace of its own the command sees the folder of its code at ``/code``, and volumes
where its spec wants them. Whoever may not mount gets a user namespace as well, in which it may;
there it keeps its own user and group, and has no right that it did not have before. Where a path
cannot be made, as ``/code`` under ``/`` by an ordinary user, the folder that it should be in
becomes a small read-only file system with everything of the old one bound into it.

Code that was localised before is not written again: the folder then has a link to a tree that many
commands look at. Each has a layer of its own above it, into which goes what it writes, and sees it
all at ``/code`` and at the folder's own path.

Run as a program it tries whether this machine allows that: ``code_mount.py <code_mount of
task.json> <path of a volume>…``.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

CODE = "/code"
_CLONE_NEWNS, _CLONE_NEWUSER = 0x00020000, 0x10000000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 1, 2, 4, 8
_MS_NOATIME, _MS_NODIRATIME, _MS_RELATIME = 1024, 2048, 1 << 21
_MS_REMOUNT, _MS_BIND, _MS_MOVE, _MS_REC, _MS_SLAVE = 32, 4096, 8192, 16384, 1 << 19
_MNT_DETACH = 2
_ST_RELATIME = 4096
# What a mount has and a remount by whoever may not change it must repeat. The flags of statvfs are
# those of mount but for one.
_KEPT = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC | _MS_NOATIME | _MS_NODIRATIME
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "ppc64le": 203, "s390x": 217, "riscv64": 41}


class VolumeMount(NamedTuple):
    """A folder, and the absolute path at which it is to be seen."""

    source: str
    path: str
    read_only: bool = False


class CodeMount:
    """Puts a folder at ``/code``, and volumes at theirs, for this process and those it starts.

    To be made before a fork, since loading the C library may need memory and locks, and entered
    in the child, which has no threads.

    Args:
        wanted: ``stage``, an empty folder that nothing else uses; ``source``, the folder (missing:
            nothing is to be at ``/code``). For a
            shared tree also ``tree``; ``view``, a folder that looks like the source but has an
            empty one in the place of the link; ``folder``, its name; and ``upper`` and ``work``,
            empty folders of one file system for what is written.
        volumes: What goes where; none below another.
    """

    def __init__(self, wanted: Dict[str, str], volumes: Sequence[VolumeMount] = ()) -> None:
        import ctypes

        self._wanted = wanted
        self._source = wanted.get("source", "")
        self._volumes = volumes
        self._ours: List[str] = []
        self._stage = wanted["stage"]
        self._ctypes = ctypes
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._pivot_root = _PIVOT_ROOT.get(os.uname().machine)

    def enter(self) -> None:
        """Do it. There is no way back: after an OSError this process is of no use.

        Raises:
            OSError: the machine does not allow it, or has something of its own at one of the
                paths: the command may need that.
        """
        paths = [CODE] if self._source else []
        paths += [volume.path for volume in self._volumes]
        for path in paths:
            if os.path.lexists(path) and (not os.path.isdir(path) or os.listdir(path)):
                raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))
        self._unshare()
        # What the machine mounts later is seen here, and nothing of ours there.
        self._mount(None, "/", None, _MS_REC | _MS_SLAVE)
        if "tree" in self._wanted:
            self._lay_over()
        if not all(_is_there("/" + path.split("/")[1]) for path in paths):
            self._change_root()
        for path in paths:
            self._provide(path)
        if self._source:
            self._mount(self._source, CODE, None, _MS_BIND | _MS_REC)
        for volume in self._volumes:
            self._attach(volume)
        for folder in self._ours:
            flags = _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID | _MS_NODEV
            self._mount(None, folder, None, flags)

    def _attach(self, volume: VolumeMount) -> None:
        # What is mounted inside of it is left out: it could be written to all the same.
        self._mount(volume.source, volume.path, None, _MS_BIND)
        if volume.read_only:
            flags = _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _kept_flags(volume.path)
            self._mount(None, volume.path, None, flags)

    def _unshare(self) -> None:
        uid, gid = os.getuid(), os.getgid()
        if uid == 0:
            self._check(self._libc.unshare(_CLONE_NEWNS))
            return
        self._check(self._libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNS))
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", "{0} {0} 1".format(uid)),
            ("gid_map", "{0} {0} 1".format(gid)),
        ):
            with open("/proc/self/" + name, "w", encoding="ascii") as stream:
                stream.write(text)

    def _lay_over(self) -> None:
        """Put a layer of its own above the tree, and both in the place of the source."""
        wanted = self._wanted
        layers = "lowerdir={tree},upperdir={upper},workdir={work},userxattr".format(**wanted)
        place = os.path.join(wanted["view"], wanted["folder"])
        self._mount("overlay", place, "overlay", _MS_NOSUID | _MS_NODEV, os.fsencode(layers))
        self._mount(wanted["view"], self._source, None, _MS_BIND | _MS_REC)

    def _change_root(self) -> None:
        """Make a root in which paths can be made beside all that the old one has."""
        if self._pivot_root is None:
            raise OSError("how to change the root on this kind of machine is not known")
        new = self._stage
        self._copy("/", new)
        os.chdir(new)
        self._check(self._libc.syscall(self._pivot_root, b".", b"."))
        self._check(self._libc.umount2(b".", _MNT_DETACH))
        os.chdir("/")
        self._ours.append("/")

    def _provide(self, path: str) -> None:
        """Make a folder of that path, with what it is in."""
        parent = "/"
        for part in path.split("/")[1:]:
            inner = os.path.join(parent, part)
            if not _is_there(inner):
                self._copy(parent, self._stage)
                self._mount(self._stage, parent, None, _MS_MOVE)
                self._ours.append(parent)
                os.mkdir(inner)
            parent = inner

    def _copy(self, old: str, new: str) -> None:
        """Make a small file system with everything that is in a folder bound into it."""
        names = os.listdir(old)
        self._mount("none", new, "tmpfs", _MS_NOSUID | _MS_NODEV, b"size=1m,mode=755")
        for name in names:
            self._bind(os.path.join(old, name), os.path.join(new, name))

    def _bind(self, old: str, new: str) -> None:
        if os.path.islink(old):
            os.symlink(os.readlink(old), new)
        elif os.path.isdir(old):
            os.mkdir(new)
            self._mount(old, new, None, _MS_BIND | _MS_REC)
        else:
            with open(new, "wb"):
                pass
            self._mount(old, new, None, _MS_BIND)

    def _mount(
        self,
        source: Optional[str],
        target: str,
        kind: Optional[str],
        flags: int,
        options: Optional[bytes] = None,
    ) -> None:
        texts: List[Any] = [
            None if text is None else os.fsencode(text) for text in (source, target, kind)
        ]
        self._check(self._libc.mount(*texts, self._ctypes.c_ulong(flags), options))

    def _check(self, result: int) -> None:
        if result != 0:
            number = self._ctypes.get_errno()
            raise OSError(number, os.strerror(number))


def _is_there(path: str) -> bool:
    """Whether a folder is there, or was made, where we may: as root the real root is as it is."""
    if os.path.isdir(path):
        return True
    try:
        os.mkdir(path)
    except OSError:
        return False
    return True


def _kept_flags(path: str) -> int:
    found = os.statvfs(path).f_flag
    return found & _KEPT | (_MS_RELATIME if found & _ST_RELATIME else 0)


def copy_instead(wanted: Dict[str, str]) -> None:
    """Put a copy of the shared tree in the place of the link to it, where no layer can be.

    Raises:
        OSError: it cannot be written.
    """
    if "tree" not in wanted:
        return
    link = os.path.join(wanted["source"], wanted["folder"])
    if os.path.islink(link):
        copy = os.path.join(wanted["source"], ".localize-partial-00000000")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(wanted["tree"], copy, symlinks=True)
        os.unlink(link)
        os.rename(copy, link)


def _try(wanted: Dict[str, str], paths: Sequence[str]) -> None:
    volumes = [VolumeMount(wanted["stage"] + ".volume", path, read_only=True) for path in paths]
    CodeMount(wanted, volumes).enter()
    for volume in volumes:
        if not os.path.samefile(volume.path, volume.source):
            raise OSError("what is at {} is not what was put there".format(volume.path))
    if "source" in wanted and not os.path.samefile(CODE, wanted["source"]):
        raise OSError("what is at /code is not what was put there")
    if "tree" in wanted:
        _try_layer(os.path.join(CODE, wanted["folder"]))


def _try_layer(folder: str) -> None:
    """Do what a file system that cannot hold a layer refuses; the tree has ``old/file``."""
    old = os.path.join(folder, "old")
    for name in ("file", "other"):
        with open(os.path.join(old, name), "a", encoding="ascii") as stream:
            stream.write("more")
    shutil.rmtree(old)
    os.mkdir(old)
    if os.listdir(old):
        raise OSError("a folder that was removed is still there")


if __name__ == "__main__":
    try:
        _try(json.loads(sys.argv[1]), sys.argv[2:])
    except OSError as error:
        sys.exit(str(error))
