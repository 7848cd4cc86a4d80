"""Archives that are malicious or broken, each with what must be said of it.

Made here and not kept as files, so that what is in each stands where it is tested. Two hundred and
more: most dangers come in the tar of five compressions and as a zip.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import zstandard

COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "tar": lambda tar: tar,
    "tar.gz": lambda tar: gzip.compress(tar, 9),
    "tar.bz2": bz2.compress,
    "tar.xz": lzma.compress,
    "tar.zst": zstandard.ZstdCompressor(write_checksum=True).compress,
}
Item = tuple[tarfile.TarInfo, bytes]
MiB = 1 << 20


Made = tuple[bytes, str]
"""The bytes of an archive, and what must be said of it: a regular expression."""


class Bad(NamedTuple):
    """An archive that must be refused.

    Args:
        name: Of the case.
        make: Makes it; some are large, so that not all are there at once.
    """

    name: str
    make: Callable[[], Made]


def bad(name: str, content: bytes, reason: str) -> Bad:
    """A small one."""
    return Bad(name, lambda: (content, reason))


def item(name: str, content: bytes = b"x", kind: bytes = tarfile.REGTYPE, to: str = "") -> Item:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    info.size = len(content) if kind == tarfile.REGTYPE else 0
    return info, content


def link(name: str, to: str) -> Item:
    return item(name, kind=tarfile.SYMTYPE, to=to)


def hard(name: str, to: str) -> Item:
    return item(name, kind=tarfile.LNKTYPE, to=to)


def folder(name: str) -> Item:
    return item(name, kind=tarfile.DIRTYPE)


def tar(*items: Item, form: int = tarfile.PAX_FORMAT) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=form) as made:
        for info, content in items:
            made.addfile(info, io.BytesIO(content))
    return raw.getvalue()


OUT = "leads out of its folder"
TWICE = "stands there twice, or below a file or symlink"
NOWHERE = "leads to nothing that was unpacked before it"
LONG = "too long, or holds a NUL"

ENTRIES: dict[str, tuple[list[Item], str]] = {
    "absolute": ([item("/tmp/evil")], "is an absolute path"),
    "absolute folder": ([folder("/tmp/evil")], "is an absolute path"),
    "up": ([item("../evil")], OUT),
    "up in the middle": ([item("a/../../evil")], OUT),
    "up at the end": ([folder("a/..")], OUT),
    "up as a folder": ([folder("../evil")], OUT),
    "up, with dots between": ([item("./.././evil")], OUT),
    "link up": ([link("a", "../evil")], OUT),
    "link far up": ([link("a/b", "../../../../../../etc/passwd")], OUT),
    "link absolute": ([link("a", "/etc/passwd")], OUT),
    "link to the root": ([link("a", "/")], OUT),
    "link down and up": ([link("a", "b/../../evil")], OUT),
    "link through a link": (
        [folder("a/b"), link("a/b/up", "../.."), link("evil", "a/b/up/../etc")],
        OUT,
    ),
    "link to itself, then up": ([link("a", "."), link("b", "a/..")], OUT),
    "written through a link": ([link("a", "b"), folder("b"), item("a/evil")], TWICE),
    "written through a link to here": ([link("a", "."), item("a/evil")], TWICE),
    "folder through a link": ([folder("b"), link("a", "b"), folder("a/evil")], TWICE),
    "link through a link's name": ([link("a", "."), link("a/b", "c")], TWICE),
    "file over a link": ([link("a", "b"), item("a")], TWICE),
    "link over a file": ([item("a"), link("a", "b")], TWICE),
    "folder over a file": ([item("a"), folder("a")], TWICE),
    "file over a folder": ([folder("a"), item("a")], TWICE),
    "file below a file": ([item("a"), item("a/b")], TWICE),
    "the same file twice": ([item("a"), item("a")], TWICE),
    "the same file under two spellings": ([item("a/b"), item("./a//b")], TWICE),
    "hard link up": ([hard("a", "../../etc/passwd")], OUT),
    "hard link absolute": ([hard("a", "/etc/passwd")], "is an absolute path"),
    "hard link to nothing": ([hard("a", "b")], NOWHERE),
    "hard link before its file": ([hard("a", "b"), item("b")], NOWHERE),
    "hard link to a link": ([link("a", "b"), hard("c", "a")], NOWHERE),
    "hard link to a folder": ([folder("a"), hard("b", "a")], NOWHERE),
    "hard link through a link": ([folder("b"), link("a", "b"), hard("c", "a/x")], TWICE),
    "hard link over a file": ([item("a"), item("b"), hard("b", "a")], TWICE),
    "character device": ([item("a", kind=tarfile.CHRTYPE)], "is a device"),
    "block device": ([item("a", kind=tarfile.BLKTYPE)], "is a device"),
    "fifo": ([item("a", kind=tarfile.FIFOTYPE)], "is a fifo"),
    "part of a file": ([item("a", kind=b"M")], "goes on in another archive"),
    "unknown kind": ([item("a", kind=b"Q")], "unknown kind"),
    "name too long": ([item("x" * 256)], LONG),
    "path too long": ([item("/".join(["x" * 200] * 30))], LONG),
    "link's text too long": ([link("a", "b" * 5000)], "leads nowhere"),
    "link to nothing at all": ([link("a", "")], "leads nowhere"),
    "no name": ([item("")], "is no name"),
    "only a dot": ([item("./")], "is no name"),
}

PLAIN: dict[str, Callable[[], Made]] = {}
"""Dangers in the bytes of a tar itself, tried in every compression."""


def plain(make: Callable[[], Made]) -> Callable[[], Made]:
    PLAIN[make.__name__.replace("_", " ")] = make
    return make


@plain
def cut_in_a_content() -> Made:
    return tar(item("a", bytes(5000)))[:3000], "ends too early"


@plain
def cut_in_a_header() -> Made:
    return tar(item("a"), item("b"))[:1300], "ends too early"


@plain
def without_its_end() -> Made:
    return tar(item("a"))[:1024], "ends too early"


@plain
def damaged_header() -> Made:
    made = bytearray(tar(item("a"), item("b")))
    made[1024] ^= 255
    return bytes(made), "a header is damaged"


@plain
def joined() -> Made:
    return tar(item("a")) + tar(item("b")), "something follows its end"


@plain
def something_after_the_end() -> Made:
    return tar(item("a")) + b"\0" * 5120 + b"more", "something follows its end"


@plain
def endless_zeros_after_the_end() -> Made:
    return tar(item("a")) + bytes(17 * MiB), "something follows its end"


@plain
def sparse_of_gnu() -> Made:
    return tar(item("a", kind=tarfile.GNUTYPE_SPARSE)), "sparse file"


@plain
def sparse_of_pax() -> Made:
    info, content = item("a")
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.realsize": "1000000000000"}
    return tar((info, content)), "sparse file"


@plain
def size_beyond_all_limits() -> Made:
    info = tarfile.TarInfo("a")
    info.size = 1 << 50
    return info.tobuf(tarfile.GNU_FORMAT) + bytes(2000), "more than"


@plain
def size_in_pax_beyond_all_limits() -> Made:
    info, content = item("a")
    info.pax_headers = {"size": "9" * 19}
    return tar((info, content)), "more than"


@plain
def size_in_pax_that_is_no_number() -> Made:
    info, content = item("a")
    info.pax_headers = {"size": "-1"}
    return tar((info, content)), "extended header is damaged"


@plain
def negative_size() -> Made:
    block = bytearray(item("a")[0].tobuf(tarfile.GNU_FORMAT))
    block[124:136] = b"\xff" * 12
    return bytes(_mended(block)) + bytes(1024), "negative size|damaged"


@plain
def pax_header_that_fills_memory() -> Made:
    info = tarfile.TarInfo("././@PaxHeader")
    info.type, info.size = tarfile.XHDTYPE, 1 << 33
    return info.tobuf(tarfile.GNU_FORMAT) + bytes(4096), "extended header is too long"


@plain
def pax_records_that_do_not_fit() -> Made:
    info = tarfile.TarInfo("././@PaxHeader")
    info.type, info.size = tarfile.XHDTYPE, 12
    record = b"999 path=a\n\0".ljust(512, b"\0")
    return info.tobuf(tarfile.USTAR_FORMAT) + record + tar(item("a")), "header is damaged"


@plain
def long_name_of_gnu_that_fills_memory() -> Made:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 30
    return info.tobuf(tarfile.USTAR_FORMAT) + bytes(4096), "extended header is too long"


@plain
def long_name_of_gnu_that_leads_up() -> Made:
    return tar(item("a/" * 60 + "../" * 61 + "evil"), form=tarfile.GNU_FORMAT), OUT


@plain
def headers_before_headers_for_ever() -> Made:
    info = tarfile.TarInfo("././@PaxHeader")
    info.type, info.size = tarfile.XHDTYPE, 0
    return info.tobuf(tarfile.USTAR_FORMAT) * 100, "too many extended headers"


@plain
def pax_path_that_leads_up() -> Made:
    info, content = item("innocent")
    info.pax_headers = {"path": "../evil"}
    return tar((info, content)), OUT


@plain
def pax_link_that_leads_up() -> Made:
    info, content = link("innocent", "a")
    info.pax_headers = {"linkpath": "/etc/passwd"}
    return tar((info, content)), OUT


@plain
def nul_in_a_pax_path() -> Made:
    record = b"path=a\0/../../evil\n"
    record = b"%d %s" % (len(record) + 3, record)
    info = tarfile.TarInfo("././@PaxHeader")
    info.type, info.size = tarfile.XHDTYPE, len(record)
    head = info.tobuf(tarfile.USTAR_FORMAT) + record.ljust(512, b"\0")
    return head + tar(item("a")), f"{LONG}|{OUT}"


@plain
def many_files() -> Made:
    return tar(*(item(f"{number:x}", b"") for number in range(2001))), "more than .* files"


@plain
def many_bytes() -> Made:
    return tar(*(item(f"{number}", bytes(MiB)) for number in range(33))), "more than|would become"


@plain
def many_hard_links_to_a_large_file() -> Made:
    links = (hard(f"link{number}", "large") for number in range(40))
    return tar(item("large", bytes(MiB)), *links), "more than|would become"


def _mended(block: bytearray) -> bytearray:
    """Make a header pass its own check again."""
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return block


ZIPS: dict[str, Callable[[], Made]] = {}


def zipped(make: Callable[[], Made]) -> Callable[[], Made]:
    ZIPS[make.__name__.replace("_", " ")] = make
    return make


def zip_of(*entries: tuple[str, bytes, int], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of (name, content, mode as Unix has it)."""
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", method) as made:
        for name, content, mode in entries:
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr, info.compress_type = 3, mode << 16, method
            made.writestr(info, content)
    return raw.getvalue()


FILE, LINK = stat.S_IFREG | 0o644, stat.S_IFLNK | 0o777


def _simple(name: str, entries: list[tuple[str, bytes, int]], reason: str) -> None:
    ZIPS[name] = lambda: (zip_of(*entries), reason)


_simple("up", [("../evil", b"x", FILE)], OUT)
_simple("absolute", [("/tmp/evil", b"x", FILE)], "is an absolute path")
_simple("folder up", [("../evil/", b"", 0)], OUT)
_simple("link up", [("a", b"../evil", LINK)], OUT)
_simple("link absolute", [("a", b"/etc/passwd", LINK)], OUT)
_simple("link to nothing at all", [("a", b"", LINK)], "leads nowhere")
_simple("link with a NUL", [("a", b"b\0c", LINK)], "leads nowhere")
_simple("link with a content", [("a", b"x" * 5000, LINK)], "link .* is too long")
_simple("written through a link", [("a", b".", LINK), ("a/evil", b"x", FILE)], TWICE)
_simple("file below a file", [("a", b"", FILE), ("a/b", b"x", FILE)], TWICE)
_simple("device", [("a", b"", stat.S_IFCHR | 0o666)], "device, fifo or socket")
_simple("block device", [("a", b"", stat.S_IFBLK | 0o666)], "device, fifo or socket")
_simple("fifo", [("a", b"", stat.S_IFIFO | 0o666)], "device, fifo or socket")
_simple("socket", [("a", b"", stat.S_IFSOCK | 0o666)], "device, fifo or socket")
_simple("name too long", [("x" * 256, b"x", FILE)], LONG)
_simple("path too long", [("/".join(["x" * 200] * 30), b"x", FILE)], LONG)
_simple("folder with a content", [("a", b"x", stat.S_IFDIR | 0o755)], "has a content")
_simple("many files", [(f"{number}", b"", FILE) for number in range(2001)], "more than .* files")
_simple("many bytes", [(f"{n}", bytes(MiB), FILE) for n in range(33)], "more than|would become")


@zipped
def same_name_twice() -> Made:
    made = zip_of(("name1", b"1", FILE), ("name2", b"2", FILE))
    return made.replace(b"name2", b"name1"), TWICE


@zipped
def file_over_a_link() -> Made:
    made = zip_of(("name1", b"b", LINK), ("name2", b"2", FILE))
    return made.replace(b"name2", b"name1"), TWICE


@zipped
def path_of_windows() -> Made:
    made = bytearray(zip_of(("..x..xevil", b"x", 0)).replace(b"..x..xevil", b"..\\..\\evil"))
    made[made.rfind(b"PK\x01\x02") + 5] = 0
    return bytes(made), OUT


@zipped
def drive_of_windows() -> Made:
    made = bytearray(zip_of(("C:xevil", b"x", 0)).replace(b"C:xevil", b"C:\\evil"))
    made[made.rfind(b"PK\x01\x02") + 5] = 0
    return bytes(made), "path on a drive"


@zipped
def encrypted() -> Made:
    return _flagged(1), "is encrypted"


@zipped
def strongly_encrypted() -> Made:
    return _flagged(0x41), "is encrypted"


@zipped
def with_an_encrypted_directory() -> Made:
    return _flagged(0x2000), "is encrypted"


def _flagged(flags: int) -> bytes:
    made = bytearray(zip_of(("a", b"x", FILE)))
    made[made.rfind(b"PK\x01\x02") + 8 :][:2] = b""
    struct.pack_into("<H", made, made.rfind(b"PK\x01\x02") + 8, flags)
    return bytes(made)


@zipped
def packed_with_bzip2() -> Made:
    return zip_of(("a", b"x", FILE), method=zipfile.ZIP_BZIP2), "is packed with bzip2"


@zipped
def packed_with_lzma() -> Made:
    return zip_of(("a", b"x", FILE), method=zipfile.ZIP_LZMA), "is packed with lzma"


@zipped
def of_an_unknown_method() -> Made:
    made = bytearray(zip_of(("a", b"x", FILE)))
    struct.pack_into("<H", made, made.rfind(b"PK\x01\x02") + 10, 77)
    return bytes(made), "method 77"


@zipped
def wrong_checksum() -> Made:
    made = zip_of(("a", b"content", FILE), method=zipfile.ZIP_STORED)
    return made.replace(b"content", b"c0ntent", 1), "its checksum or size is wrong"


@zipped
def wrong_compressed_bytes() -> Made:
    made = bytearray(zip_of(("a", b"content" * 100, FILE)))
    made[31:36] = b"\xff" * 5
    return bytes(made), "compressed bytes of .* are damaged|its checksum or size is wrong"


@zipped
def content_larger_than_it_says() -> Made:
    made = bytearray(zip_of(("a", bytes(100_000), FILE)))
    struct.pack_into("<L", made, made.rfind(b"PK\x01\x02") + 24, 5)
    return bytes(made), "its checksum or size is wrong"


@zipped
def content_smaller_than_it_says() -> Made:
    made = bytearray(zip_of(("a", bytes(1000), FILE)))
    struct.pack_into("<L", made, made.rfind(b"PK\x01\x02") + 24, 5000)
    return bytes(made), "its checksum or size is wrong"


@zipped
def directory_and_entry_that_disagree() -> Made:
    made = zip_of(("innocent", b"x", FILE))
    return made.replace(b"innocent", b"../evill", 1), "disagree"


@zipped
def entry_somewhere_else() -> Made:
    made = bytearray(zip_of(("a", b"x" * 500, FILE)))
    struct.pack_into("<L", made, made.rfind(b"PK\x01\x02") + 42, 7)
    return bytes(made), "not where the directory says"


@zipped
def entry_behind_the_directory() -> Made:
    made = bytearray(zip_of(("a", b"x" * 500, FILE)))
    struct.pack_into("<L", made, made.rfind(b"PK\x01\x02") + 42, 0x7FFFFFFF)
    return bytes(made), "not where the directory says"


@zipped
def entries_that_share_their_bytes() -> Made:
    """The quickest way to petabytes: every entry of the directory is the same bytes."""
    made = zip_of(("a", bytes(1000), FILE))
    at = made.rfind(b"PK\x01\x02")
    end = made.rfind(b"PK\x05\x06")
    central = made[at:end] * 50
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 50, 50, len(central), at, 0)
    return made[:at] + central + tail, "are those of other entries too"


@zipped
def entries_that_overlap() -> Made:
    made = bytearray(zip_of(("a", b"x" * 50, FILE), ("b", b"y", FILE), method=zipfile.ZIP_STORED))
    first = made.find(b"PK\x01\x02")
    for at in (first + 20, first + 24):
        struct.pack_into("<L", made, at, 70)
    return bytes(made), "are those of other entries too|its checksum or size is wrong"


@zipped
def bomb_of_one_file() -> Made:
    return zip_of(("zeros", bytes(30 * MiB), FILE)), "would become more than"


@zipped
def cut() -> Made:
    return zip_of(("a", b"x" * 500, FILE))[:-30], "ends too early"


@zipped
def cut_at_the_front() -> Made:
    made = zip_of(("a", b"x", FILE), ("b", b"x" * 500, FILE))
    return made[made.find(b"PK\x03\x04", 4) :], "not where it says"


@zipped
def something_after_the_end_of_it() -> Made:
    return zip_of(("a", b"x", FILE)) + b"more", "something follows its end"


@zipped
def one_part_of_several() -> Made:
    made = bytearray(zip_of(("a", b"x", FILE)))
    struct.pack_into("<H", made, made.rfind(b"PK\x05\x06") + 4, 2)
    return bytes(made), "one part of several|directory is damaged"


@zipped
def directory_with_too_few_entries() -> Made:
    made = bytearray(zip_of(("a", b"x", FILE)))
    struct.pack_into("<2H", made, made.rfind(b"PK\x05\x06") + 8, 9, 9)
    return bytes(made), "directory is damaged"


@zipped
def directory_of_noise() -> Made:
    made = bytearray(zip_of(("a", b"x", FILE)))
    made[made.rfind(b"PK\x01\x02")] = 0
    return bytes(made), "directory is damaged"


@zipped
def large_directory_without_its_locator() -> Made:
    made = bytearray(zip_of(("a", b"x", FILE)))
    struct.pack_into("<2H", made, made.rfind(b"PK\x05\x06") + 8, 0xFFFF, 0xFFFF)
    return bytes(made), "directory is damaged"


@zipped
def numbers_that_are_nowhere() -> Made:
    made = bytearray(zip_of(("a", b"x", FILE)))
    struct.pack_into("<L", made, made.rfind(b"PK\x01\x02") + 20, 0xFFFFFFFF)
    return bytes(made), "are those of other entries too|directory is damaged"


OTHERS: list[Bad] = [
    bad("empty", b"", "it is empty"),
    bad("text", b"import os\n" * 100, "neither a tar"),
    bad("noise", bytes(range(1, 255)) * 10, "neither a tar"),
    bad("page", b"<!DOCTYPE html><title>Log in</title>" * 20, "a page, not an archive"),
    bad("7z", b"7z\xbc\xaf\x27\x1c" + bytes(600), "a 7z archive"),
    bad("rar", b"Rar!\x1a\x07\x01" + bytes(600), "a RAR archive"),
    bad("lz4", b"\x04\x22\x4d\x18" + bytes(600), "packed with lz4"),
    bad("compress", b"\x1f\x9d\x90" + bytes(600), "packed with compress"),
    bad("old lzma", lzma.compress(tar(item("a")), lzma.FORMAT_ALONE), "packed with the old lzma"),
    bad("ar", b"!<arch>\ndebian-binary" + bytes(600), "an ar archive"),
    bad("pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS"),
    bad("tarfile cut in its first header", tar(item("a"))[:300], "neither a tar"),
    bad("gzip of text", gzip.compress(b"text"), "ends too early"),
    bad("gzip of nothing", gzip.compress(b""), "ends too early"),
    bad("xz of text", lzma.compress(b"text" * 1000), "header is damaged"),
    bad("gzip in gzip", gzip.compress(gzip.compress(tar(item("a")))), "ends too early|damaged"),
    bad(
        "window that fills memory (xz)",
        lzma.compress(tar(item("a")), filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 512 * MiB}]),
        "window too large",
    ),
]


def _damages(whole: bytes) -> dict[str, bytes]:
    """What happens to files on the way."""
    flipped = bytearray(whole)
    flipped[len(flipped) // 2] ^= 0x55
    return {
        "half of it": whole[: len(whole) // 2],
        "nearly all of it": whole[: int(0.9 * len(whole))],
        "a flipped byte": bytes(flipped),
        "something after it": whole + b"rest" * 200,
        "followed by a page": whole + b"<html></html>",
    }


def _noise() -> bytes:
    return b"".join(zlib.crc32(bytes([n % 256, n >> 8])).to_bytes(4, "big") for n in range(30_000))


def _zeros_too_far() -> bytes:
    """A few kilobytes that want a window of 128 MiB."""
    window = zstandard.ZstdCompressionParameters.from_level(
        3, window_log=27, write_content_size=False
    )
    frame = zstandard.ZstdCompressor(compression_params=window).compressobj()
    return frame.compress(tar(item("a", bytes(MiB)))) + frame.flush()


def _packed(form: str, make: Callable[[], Made], also: str = "") -> Callable[[], Made]:
    def made() -> Made:
        content, reason = make()
        return COMPRESSIONS[form](content), f"{reason}{also}"

    return made


def _damaged(form: str, damage: str) -> Callable[[], Made]:
    def made() -> Made:
        whole = COMPRESSIONS[form](tar(item("noise", _noise())))
        return _damages(whole)[damage], "ends too early|damaged|something"

    return made


def corpus() -> Iterator[Bad]:
    """All of them."""
    for name, (items, reason) in ENTRIES.items():
        made: Made = (tar(*items), reason)
        for form in ("tar", "tar.gz", "tar.zst"):
            yield Bad(f"{form}: {name}", _packed(form, lambda made=made: made))
    for name, make in PLAIN.items():
        for form in ("tar", "tar.xz", "tar.bz2"):
            # A bomb is found by what it would become before its entries are counted.
            also = "|would become" if form != "tar" else ""
            yield Bad(f"{form}: {name}", _packed(form, make, also))
    for name, make in ZIPS.items():
        yield Bad(f"zip: {name}", make)
    for form in COMPRESSIONS:
        for damage in _damages(b"x"):
            if (form, damage) != ("tar", "a flipped byte"):  # it has no checksum of contents
                yield Bad(f"{form}: {damage}", _damaged(form, damage))
    for form in ("tar.bz2", "tar.xz", "tar.zst", "tar.gz"):
        zeros = lambda: (tar(item("zeros", bytes(30 * MiB))), "would become more than")  # noqa: E731
        yield Bad(f"{form}: bomb", _packed(form, zeros))
    yield from OTHERS
    yield Bad("window that fills memory (zstd)", lambda: (_zeros_too_far(), "window too large"))
