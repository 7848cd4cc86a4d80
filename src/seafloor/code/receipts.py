"""Receipts on disk: the last thing written, so that a folder without one is not whole."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from seafloor.code.files import sync_folder, write_whole
from seafloor.code.git_url import RECEIPT_FOLDER
from seafloor.domain.code import CodeSource, GitCode, LocalizedCode, Receipt, SnapshotCode

FORMAT_VERSION: Final = 2
RECEIPT_FILE: Final = ".receipt.json"
RECEIPT_BYTES_MAX: Final = 4 << 20
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class ReceiptDocument(Receipt, frozen=True):
    """What stands in the file: the receipt, of which folder and source, and when it counts.

    Syncing thousands of files would take longer than making them. So a receipt counts only until
    the machine restarts, when the folder is made anew, and is not synced either, except where
    nobody can tell that the machine was restarted.

    Args:
        folder: What it speaks of; empty in a document of version 1, whose name said it.
        source: What was localised; None in a document of version 1.
        boot_id: Which boot of the machine it was written in.
    """

    folder: str = ""
    source: CodeSource | None = None
    boot_id: str = ""


def receipt_path(code_dir: Path) -> Path:
    """Where the receipt of a code folder is."""
    return code_dir / RECEIPT_FILE


def old_receipt_path(code_dir: Path, folder: str) -> Path:
    """Where version 1 had the receipt of a localised folder."""
    return code_dir / RECEIPT_FOLDER / f"{folder}.json"


def read_receipt(code_dir: Path, source: LocalizedCode) -> Receipt | None:
    """Read the receipt of a folder that is already localised, of this version or version 1.

    Returns:
        The receipt; None when there is none that proves this source, written since the machine
        was started, with its folder in place.
    """
    document = read_document(receipt_path(code_dir))
    proves = document is not None and document.source == source
    if not proves:
        document = read_document(old_receipt_path(code_dir, source.folder))
        proves = document is not None and _is_of(document, source)
    if document is None or not proves or document.boot_id != boot_id():
        return None
    return _receipt_of(document) if (code_dir / source.folder).is_dir() else None


def read_document(path: Path) -> ReceiptDocument | None:
    """Read a receipt's file; None when there is none, or it is not whole."""
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(RECEIPT_BYTES_MAX), type=ReceiptDocument)
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def encode_receipt(source: LocalizedCode, receipt: Receipt) -> bytes:
    """Make the file's content; done before anything is replaced that would be missed."""
    document = ReceiptDocument(
        **msgspec.structs.asdict(receipt),
        folder=source.folder,
        source=source,
        boot_id=boot_id(),
    )
    return msgspec.json.format(msgspec.json.encode(document), indent=2)


def write_receipt(code_dir: Path, content: bytes) -> None:
    """Write a receipt, whole or not at all; the folder it speaks of is in place."""
    path = receipt_path(code_dir)
    temporary = path.with_name(f"{RECEIPT_FILE}.partial")
    write_whole(path, content, temporary=temporary, lasts=not boot_id())


def remove_receipt(code_dir: Path, folder: str) -> None:
    """Remove a receipt before its folder is touched; also one of version 1."""
    for path in (receipt_path(code_dir), old_receipt_path(code_dir, folder)):
        if path.exists():
            path.unlink()
            settle_names(path.parent)


def settle_names(folder: Path) -> None:
    """Make names in a folder durable before a receipt is, where receipts are durable."""
    if not boot_id():
        sync_folder(folder)


def snapshot_key(sha256: str) -> str:
    """Key of a snapshot in the object store."""
    return f"code/{sha256}.tar.zst"


def _receipt_of(document: ReceiptDocument) -> Receipt:
    fields = msgspec.structs.asdict(document)
    return Receipt(**{name: fields[name] for name in Receipt.__struct_fields__})


def _is_of(receipt: Receipt, source: LocalizedCode) -> bool:
    """Whether a receipt of version 1, which did not hold the source, speaks of it."""
    match source:
        case GitCode():
            wanted = ("git", source.url, source.ref, source.commit, None)
        case SnapshotCode():
            wanted = ("snapshot", snapshot_key(source.sha256), None, None, source.sha256)
        case _:
            return False
    said = (receipt.kind, receipt.url, receipt.ref, receipt.commit, receipt.sha256)
    return receipt.format_version == 1 and said == wanted


def boot_id() -> str:
    """Say which boot of the machine this is; empty where the system does not say."""
    return _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else ""
