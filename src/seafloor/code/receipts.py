"""Receipts on disk: the last thing written, so that a folder without one is not whole."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from seafloor.code.files import sync_folder, write_durably
from seafloor.code.git_url import RECEIPT_FOLDER
from seafloor.domain.code import CodeSource, GitCode, Receipt

FORMAT_VERSION: Final = 1
RECEIPT_BYTES_MAX: Final = 4 << 20
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class _Document(Receipt, frozen=True):
    """What stands in the file: the receipt, and in which boot of the machine it was written.

    The receipt is durable when ``localize`` returns, the localised files are not: syncing
    thousands of files would take longer than making them. So a receipt counts only until the
    machine restarts; then the folder is made anew.
    """

    boot_id: str = ""


def receipt_path(code_dir: Path, folder: str) -> Path:
    """Where the receipt of a localised folder is."""
    return code_dir / RECEIPT_FOLDER / f"{folder}.json"


def read_receipt(code_dir: Path, folder: str, source: CodeSource) -> Receipt | None:
    """Read the receipt of a folder that is already localised.

    Returns:
        The receipt; None when there is none that proves this source, written since the machine
        was started, with its folder in place.
    """
    path = receipt_path(code_dir, folder)
    try:
        with path.open("rb") as file:
            content = file.read(RECEIPT_BYTES_MAX)
        document = msgspec.json.decode(content, type=_Document)
        receipt = msgspec.json.decode(content, type=Receipt)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    proves = document.boot_id == _boot_id() and _is_of(receipt, source)
    return receipt if proves and (code_dir / folder).is_dir() else None


def write_receipt(code_dir: Path, folder: str, receipt: Receipt) -> None:
    """Write a receipt durably; the folder it speaks of is in place."""
    document = _Document(**msgspec.structs.asdict(receipt), boot_id=_boot_id())
    path = receipt_path(code_dir, folder)
    content = msgspec.json.format(msgspec.json.encode(document), indent=2)
    write_durably(path, content, temporary=path.with_name(f"{folder}.json.partial"))


def remove_receipt(code_dir: Path, folder: str) -> None:
    """Remove a receipt before its folder is touched."""
    path = receipt_path(code_dir, folder)
    if path.exists():
        path.unlink()
        sync_folder(path.parent)


def snapshot_key(sha256: str) -> str:
    """Key of a snapshot in the object store."""
    return f"code/{sha256}.tar.zst"


def _is_of(receipt: Receipt, source: CodeSource) -> bool:
    if isinstance(source, GitCode):
        wanted = ("git", source.url, source.ref, source.commit, None)
    else:
        wanted = ("snapshot", snapshot_key(source.sha256), None, None, source.sha256)
    said = (receipt.kind, receipt.url, receipt.ref, receipt.commit, receipt.sha256)
    return receipt.format_version == FORMAT_VERSION and said == wanted


def _boot_id() -> str:
    """Which boot of the machine this is; empty where the system does not say."""
    return _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else ""
