from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from hashlib import file_digest, sha256
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from git_world import tree_of
from seafloor.code.archive_entry import Malformed
from seafloor.code.archive_streams import ArchiveKind
from seafloor.code.extract import SNAPSHOT_RULES, Extracted, ExtractRules, extract
from seafloor.code.snapshot_format import END_OF_ARCHIVE, SnapshotEntry, entry_header
from seafloor.code.tar_entries import parse_extended
from seafloor.domain.errors import InvalidValue, LimitExceeded, SeafloorError, StoreCorrupt
from seafloor.domain.ids import Sha256

Entry = tuple[tarfile.TarInfo, bytes]


def entry(name: str, content: bytes = b"", **fields: object) -> Entry:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def link(name: str, target: str) -> Entry:
    return entry(name, type=tarfile.SYMTYPE, linkname=target)


def folder(name: str) -> Entry:
    return entry(name, type=tarfile.DIRTYPE)


def tar_of(*entries: Entry, form: int = tarfile.PAX_FORMAT) -> bytes:
    """An archive as anyone could make one."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=form) as tar:
        for info, content in entries:
            tar.addfile(info, io.BytesIO(content))
    return raw.getvalue()


def unpack(tmp_path: Path, tar: bytes, rules: ExtractRules = SNAPSHOT_RULES) -> Extracted:
    """Unpack under the right digest, so that only the content can be wrong."""
    return unpack_bytes(tmp_path, zstandard.compress(tar), rules)


def unpack_bytes(tmp_path: Path, archive: bytes, rules: ExtractRules = SNAPSHOT_RULES) -> Extracted:
    path = tmp_path / "archive.tar.zst"
    path.write_bytes(archive)
    digest = Sha256(sha256(archive).hexdigest())
    with path.open("rb") as file:
        return extract(file, tmp_path / "out", sha256=digest, rules=rules)


def test_extract__files_folders_and_links__are_made(tmp_path: Path) -> None:
    found = unpack(
        tmp_path,
        tar_of(
            entry("a/b/file", b"content"),
            entry("a/empty"),
            folder("folder/"),
            entry("folder/inside", b"x"),
            entry("long/" + "x" * 250, b"long"),
            link("link", "../../outside"),
            entry("tool", b"#!", mode=0o6777),
        ),
    )

    assert tree_of(tmp_path / "out") == {
        b"a/b/file": ("file", b"content"),
        b"a/empty": ("file", b""),
        b"folder/inside": ("file", b"x"),
        b"long/" + b"x" * 250: ("file", b"long"),
        b"link": ("link", b"../../outside"),
        b"tool": ("executable", b"#!"),
    }
    assert (tmp_path / "out/tool").stat().st_mode & 0o7777 == 0o755
    assert found == Extracted(6, 7 + 1 + 4 + 13 + 2, ArchiveKind.TAR_ZST)


@pytest.mark.parametrize(
    "entries",
    [
        [entry("/etc/evil", b"x")],
        [entry("../evil", b"x")],
        [entry("a/../../evil", b"x")],
        [entry("", b"x")],
        [entry(".", b"x")],
        [folder("../evil")],
        [link("../evil", "x")],
        [link("out", ".."), entry("out/evil", b"x")],
        [link("out", "/tmp"), entry("out/evil", b"x")],
        [link("out", ".."), folder("out/evil")],
        [link("out", ".."), link("out/evil", "x")],
        [link("evil", "../evil"), entry("evil", b"x")],
        [link("a", "."), link("a/b", "..")],
        [entry("a", b"1"), entry("a", b"2")],
        [entry("a", b"1"), entry("a/b", b"2")],
        [entry("a/b", b"1"), entry("a", b"2")],
        [entry("a", b"1"), link("a", "b")],
        [entry("a", b"1"), entry("b", type=tarfile.LNKTYPE, linkname="c")],
        [entry("b", type=tarfile.LNKTYPE, linkname="/etc/passwd")],
        [entry("fifo", type=tarfile.FIFOTYPE)],
        [entry("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3)],
        [entry("disk", type=tarfile.BLKTYPE)],
        [entry("sparse", type=tarfile.GNUTYPE_SPARSE)],
        [entry("x" * 256, b"x")],
        [entry("/".join(["x" * 200] * 30), b"x")],
    ],
    ids=lambda entries: " ".join(info.name[:20] + info.type.decode() for info, _ in entries),
)
def test_extract__entry_that_must_not_be_unpacked__is_refused(
    tmp_path: Path, entries: list[Entry]
) -> None:
    with pytest.raises(InvalidValue, match="The snapshot cannot be unpacked"):
        unpack(tmp_path, tar_of(*entries))

    assert not (tmp_path / "evil").exists()
    assert not Path("/etc/evil").exists()
    assert not Path("/tmp/evil").exists()


def test_extract__digest_of_other_bytes__is_corrupt(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar.zst"
    archive.write_bytes(zstandard.compress(tar_of(entry("a", b"1"))))

    with archive.open("rb") as file, pytest.raises(StoreCorrupt, match="cut or altered"):
        extract(file, tmp_path / "out", sha256=Sha256("0" * 64))


@pytest.mark.parametrize("part", [0, 1, 100, 0.5, 0.99])
def test_extract__cut_archive__is_corrupt_wherever_it_is_cut(tmp_path: Path, part: float) -> None:
    whole = zstandard.compress(tar_of(entry("a", os.urandom(300_000))))
    archive = tmp_path / "a.tar.zst"
    length = int(part * len(whole)) if isinstance(part, float) else part
    archive.write_bytes(whole[:length])

    with archive.open("rb") as file, pytest.raises(StoreCorrupt):
        extract(file, tmp_path / "out", sha256=Sha256(sha256(whole).hexdigest()))


def test_extract__no_archive_at_all__is_refused(tmp_path: Path) -> None:
    for number, content in enumerate((b"", b"text", zstandard.compress(b""), os.urandom(5000))):
        place = tmp_path / str(number)
        place.mkdir()
        with pytest.raises(InvalidValue, match="cannot be unpacked"):
            unpack_bytes(place, content)


def test_extract__archive_without_its_end__is_refused(tmp_path: Path) -> None:
    tar = entry_header(SnapshotEntry(b"a", 3)) + b"abc" + bytes(509)

    with pytest.raises(InvalidValue, match="ends too early"):
        unpack(tmp_path, tar)


def test_extract__damaged_header__is_refused(tmp_path: Path) -> None:
    tar = bytearray(tar_of(entry("a", b"1"), entry("b", b"2")))
    tar[1024] ^= 255

    with pytest.raises(InvalidValue, match="a header is damaged"):
        unpack(tmp_path, bytes(tar))


def test_extract__bomb__is_refused_before_it_fills_the_disk(tmp_path: Path) -> None:
    rules = ExtractRules(size_bytes_max=1_000_000)
    with pytest.raises(LimitExceeded):
        unpack(tmp_path, tar_of(entry("a", bytes(900_000)), entry("b", bytes(100_001))), rules)

    assert sum(path.stat().st_size for path in (tmp_path / "out").iterdir()) <= 1_000_000


def test_extract__header_that_promises_too_much__is_refused_at_once(tmp_path: Path) -> None:
    tar = entry_header(SnapshotEntry(b"a", 1 << 60)) + bytes(10_000)

    with pytest.raises(LimitExceeded):
        unpack(tmp_path, tar)


def test_extract__too_many_entries__is_refused(tmp_path: Path) -> None:
    tar = tar_of(*(entry(str(number)) for number in range(4)))

    with pytest.raises(LimitExceeded, match="3 files"):
        unpack(tmp_path, tar, ExtractRules(files_max=3))


def test_extract__extended_header_that_would_fill_memory__is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("././@PaxHeader")
    info.type, info.size = tarfile.XHDTYPE, 1 << 30
    with pytest.raises(InvalidValue, match="too long"):
        unpack(tmp_path, info.tobuf(tarfile.USTAR_FORMAT) + bytes(4096))


def test_extract__window_that_would_fill_memory__is_refused(tmp_path: Path) -> None:
    parameters = zstandard.ZstdCompressionParameters.from_level(
        3, window_log=27, write_content_size=False
    )
    compressor = zstandard.ZstdCompressor(compression_params=parameters)
    frame = compressor.compressobj()
    archive = frame.compress(tar_of(entry("a", bytes(1_000_000)))) + frame.flush()

    with pytest.raises(InvalidValue):
        unpack_bytes(tmp_path, archive)


def test_extract__pax_path_and_link_win_over_the_header(tmp_path: Path) -> None:
    name = "größe/" + "n" * 150
    unpack(tmp_path, tar_of(link(name, "t" * 300)))

    assert tree_of(tmp_path / "out") == {name.encode(): ("link", b"t" * 300)}


@pytest.mark.parametrize(
    "content",
    [
        b"x",
        b"5 a=b",
        b"6 a=b\n9",
        b"99 a=b\n",
        b"3 a\n",
        b"0 a=b\n",
        b"-6 a=b\n",
        b"6 ab\n",
        b"\xff",
    ],
)
def test_parse_extended__damaged__is_malformed(content: bytes) -> None:
    with pytest.raises(Malformed):
        parse_extended(content)


def test_extract__read_only_target__is_told_with_its_place(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar.zst"
    archive.write_bytes(zstandard.compress(END_OF_ARCHIVE))
    (tmp_path / "file").write_text("")

    failed = pytest.raises(SeafloorError, match="Unpacking the snapshot failed at")
    with archive.open("rb") as file, failed:
        extract(file, tmp_path / "file" / "out", sha256=Sha256("0" * 64))


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_extract__any_damage_under_a_right_digest__stays_inside_and_is_told(
    data: st.DataObject,
) -> None:
    tar = bytearray(
        tar_of(entry("a/b", b"x" * 600), link("l", "../out"), entry("l2/größe", b"y"), folder("d"))
    )
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, 4096))
        tar[position] = data.draw(st.integers(0, 255))
        _mend_checksum(tar, position)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        with contextlib.suppress(InvalidValue, LimitExceeded):  # and nothing else
            unpack(root, bytes(tar))
        assert {path.name for path in root.iterdir()} <= {"archive.tar.zst", "out"}


def _mend_checksum(tar: bytearray, position: int) -> None:
    """Make the header that was damaged pass its own check again."""
    start = position - position % 512
    header = tar[start : start + 512]
    header[148:156] = b" " * 8
    tar[start + 148 : start + 156] = b"%06o\0 " % sum(header)


_MEMORY_SCRIPT = """
import resource, sys
from pathlib import Path
from seafloor.code.extract import ExtractRules, extract
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
extract(Path(sys.argv[1]).open("rb"), Path(sys.argv[2]), sha256=sys.argv[3],
        rules=ExtractRules(size_bytes_max=1 << 40))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_extract__large_archive__takes_little_memory(tmp_path: Path) -> None:
    archive = tmp_path / "large.tar.zst"
    size_bytes = 300_000_000
    compressor = zstandard.ZstdCompressor(level=1)
    with archive.open("wb") as file, compressor.stream_writer(file) as frame:
        frame.write(entry_header(SnapshotEntry(b"large", size_bytes)))
        for _ in range(size_bytes // 1_000_000):
            frame.write(bytes(1_000_000))
        frame.write(bytes(-size_bytes % 512) + END_OF_ARCHIVE)
    with archive.open("rb") as file:
        digest = file_digest(file, "sha256").hexdigest()

    done = subprocess.run(
        [sys.executable, "-c", _MEMORY_SCRIPT, str(archive), str(tmp_path / "out"), digest],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        check=True,
    )

    assert int(done.stdout) < 40_000  # KiB
    assert (tmp_path / "out/large").stat().st_size == size_bytes


@pytest.mark.parametrize("name", ["/".join(["d"] * 257), "./" + "d/" * 256 + "x"])
def test_extract__deeper_than_code_may_be__is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidValue, match="more than 256 folders deep"):
        unpack(tmp_path, tar_of(entry(name)))
