"""The absolute path ``/code`` for one command: a mount that nobody else sees. Never needs root.

In a mount namespace of its own the command sees the folder of its code at ``/code``. Whoever may
not mount gets a user namespace as well, in which it may; there it keeps its own user and group, and
has no right that it did not have before. Where ``/code`` cannot be made, as under ``/`` by an
ordinary user, the root becomes a small read-only file system with everything of the old one bound
into it.

Code that was localised before is not written again: the folder then has a link to a tree that many
commands look at. Each has a layer of its own above it, into which goes what it writes, and sees it
all at ``/code`` and at the folder's own path.

Run as a program it tries whether this machine allows that: ``code_mount.py <code_mount of
task.json>``.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from typing import Any, Dict, List, Optional

CODE = "/code"
_CLONE_NEWNS, _CLONE_NEWUSER = 0x00020000, 0x10000000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV = 1, 2, 4
_MS_REMOUNT, _MS_BIND, _MS_REC, _MS_SLAVE = 32, 4096, 16384, 1 << 19
_MNT_DETACH = 2
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "ppc64le": 203, "s390x": 217, "riscv64": 41}


class CodeMount:
    """Puts a folder at ``/code`` for this process and those that it starts.

    To be made before a fork, since loading the C library may need memory and locks, and entered
    in the child, which has no threads.

    Args:
        wanted: ``source``, the folder; ``stage``, an empty folder that nothing else uses. For a
            shared tree also ``tree``; ``view``, a folder that looks like the source but has an
            empty one in the place of the link; ``folder``, its name; and ``upper`` and ``work``,
            empty folders of one file system for what is written.
    """

    def __init__(self, wanted: Dict[str, str]) -> None:
        import ctypes

        self._wanted = wanted
        self._source = wanted["source"]
        self._stage = wanted["stage"]
        self._ctypes = ctypes
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._pivot_root = _PIVOT_ROOT.get(os.uname().machine)

    def enter(self) -> None:
        """Do it. There is no way back: after an OSError this process is of no use.

        Raises:
            OSError: the machine does not allow it, or has a ``/code`` of its own with something in
                it: the command may need that.
        """
        if os.path.isdir(CODE) and os.listdir(CODE):
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))
        self._unshare()
        # What the machine mounts later is seen here, and nothing of ours there.
        self._mount(None, "/", None, _MS_REC | _MS_SLAVE)
        if "tree" in self._wanted:
            self._lay_over()
        if not os.path.isdir(CODE) and not _made():
            self._change_root()
        else:
            self._mount(self._source, CODE, None, _MS_BIND | _MS_REC)

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
        """Make a root that has ``/code`` beside all that the old one has."""
        if self._pivot_root is None:
            raise OSError("how to change the root on this kind of machine is not known")
        new = self._stage
        self._mount("none", new, "tmpfs", _MS_NOSUID | _MS_NODEV, b"size=1m,mode=755")
        for name in os.listdir("/"):
            self._bind("/" + name, new + "/" + name)
        os.mkdir(new + CODE)
        self._mount(self._source, new + CODE, None, _MS_BIND | _MS_REC)
        os.chdir(new)
        self._check(self._libc.syscall(self._pivot_root, b".", b"."))
        self._check(self._libc.umount2(b".", _MNT_DETACH))
        os.chdir("/")
        flags = _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID | _MS_NODEV
        self._mount(None, "/", None, flags)

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


def _made() -> bool:
    """Make ``/code`` where we may: as root its own root stays as it is."""
    try:
        os.mkdir(CODE)
    except OSError:
        return False
    return True


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


def _try(wanted: Dict[str, str]) -> None:
    CodeMount(wanted).enter()
    source = wanted["source"]
    if not os.path.samefile(CODE, source):
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
        _try(json.loads(sys.argv[1]))
    except OSError as error:
        sys.exit(str(error))
