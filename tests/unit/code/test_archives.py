"""Archives as users pack them, and what is made of them."""

from __future__ import annotations

import gzip
import json
import os
import stat
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from archive_corpus import folder, hard, item, link, tar
from archive_world import FORMS, Place, expected_tree, make_archive, packed, sha256_of
from git_world import LAYOUT, tree_of
from seafloor.code.archive import ArchiveRequest, RemoteFacts, check_request
from seafloor.code.digest_cache import DigestCache, Wanted
from seafloor.code.file_archive import FileArchive
from seafloor.code.localize import Means, localize
from seafloor.code.receipts import old_receipt_path, receipt_path
from seafloor.domain.code import ArchiveCode, GitCode, SyncMode
from seafloor.domain.errors import InvalidValue, LimitExceeded, StoreFull
from seafloor.domain.ids import GitCommit, Sha256

MiB = 1 << 20


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["right", "wrong", "none"])
def test_localize__archive_in_any_form__is_known_by_its_content(
    place: Place, form: str, name: str
) -> None:
    wrong = "tar.gz" if form != "tar.gz" else "zip"
    names = {"right": f"digits.{form}", "wrong": f"digits.{wrong}", "none": "digits"}

    receipt = place.localize(place.archive(make_archive(form), names[name]))

    assert tree_of(place.code / "digits") == expected_tree()
    assert receipt.files == 6
    assert receipt.size_bytes == sum(len(content) for _, content in expected_tree().values())


def test_localize__golden_layout(place: Place) -> None:
    source = place.archive(make_archive("tar.gz"))

    place.localize(source)

    assert place.names() == LAYOUT
    assert (place.code / "current").readlink() == Path("digits")
    kept = json.loads((place.code / ".receipt.json").read_text())
    kept.update(duration_s=0.5, boot_id="boot", localizer="0.0")
    assert kept == {
        "kind": "archive",
        "url": source.url,
        "files": 6,
        "size_bytes": 256_059,
        "duration_s": 0.5,
        "cached": False,
        "ref": None,
        "commit": None,
        "tree": None,
        "sha256": source.sha256,
        "submodules": {},
        "format_version": 2,
        "etag": None,
        "localizer": "0.0",
        "lfs_files": 0,
        "lfs": {},
        "folder": "digits",
        "source": msgspec.to_builtins(source),
        "boot_id": "boot",
    }
    modes = {
        str(path.relative_to(place.code)): stat.S_IMODE(path.lstat().st_mode)
        for path in place.code.rglob("*")
        if path.is_file() and not path.is_symlink() and path.parent != place.code
    }
    assert modes.pop("digits/run.sh") == 0o755
    assert set(modes.values()) == {0o644}


def test_localize__what_tars_hold__is_made_as_tar_would(place: Place) -> None:
    setuid, content = item("tool", b"#!")
    setuid.mode = 0o7777
    made = tar(
        (setuid, content),
        folder("./"),
        item("./dotted/./file", b"1"),
        item("a//b", b"2"),
        folder("empty/"),
        folder("a"),
        item("größe/" + "n" * 150, b"3"),
        hard("copy", "./a/b"),
        hard("a/copy", "copy"),
        link("up/link", "../a/b"),
        link("dangling", "nowhere"),
        link("loop", "loop"),
        link("there and back", "a/../a/b"),
    )

    receipt = place.localize(place.archive(made))

    root = place.code / "digits"
    assert stat.S_IMODE((root / "tool").stat().st_mode) == 0o755
    assert (root / "dotted/file").read_bytes() == b"1"
    assert (root / "empty").is_dir()
    assert (root / "größe" / ("n" * 150)).read_bytes() == b"3"
    for copy in ("copy", "a/copy", "up/link", "there and back"):
        assert (root / copy).read_bytes() == b"2"
    assert (root / "copy").stat().st_ino == (root / "a/b").stat().st_ino
    assert receipt.files == 10


def test_localize__tars_of_real_programs__are_read(place: Place, tmp_path: Path) -> None:
    work = tmp_path / "work"
    (work / ("deep/" * 40)).mkdir(parents=True)
    (work / ("deep/" * 40) / ("x" * 200)).write_bytes(b"far down")
    (work / os.fsdecode(b"not utf-8 \xff")).write_bytes(b"bytes")
    (work / "link").symlink_to("deep")
    for form in ("gnu", "pax", "ustar", "v7"):
        skipped = ["--exclude=deep"] if form in {"ustar", "v7"} else []
        path = tmp_path / f"{form}.tar"
        subprocess.run(
            ["tar", f"--format={form}", "-C", work, *skipped, "-cf", path, "."], check=True
        )
        code = place.root / form
        place.localize(place.archive(path.read_bytes(), path.name), code=code)
        found = tree_of(code / "digits")
        assert found[b"not utf-8 \xff"] == ("file", b"bytes")
        assert found[b"link"] == ("link", b"deep")
        assert skipped or found[b"deep/" * 40 + b"x" * 200] == ("file", b"far down")


def test_localize__gzip_of_several_members__is_one_archive(place: Place) -> None:
    made = tar(item("a", b"1" * 3000), item("b", b"2"))
    joined = gzip.compress(made[:2000]) + gzip.compress(made[2000:]) + bytes(700)

    place.localize(place.archive(joined))

    assert set(tree_of(place.code / "digits")) == {b"a", b"b"}


def test_localize__zip_of_many_and_of_large_files__is_read(place: Place, tmp_path: Path) -> None:
    path = tmp_path / "many.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for number in range(70_000):  # more than the old directory can count
            made.writestr(f"{number % 100}/{number}", b"x")
        with made.open(zipfile.ZipInfo("streamed"), "w", force_zip64=True) as file:
            file.write(b"with a directory entry of 64 bits")

    receipt = place.localize(place.archive(path.read_bytes()))

    assert receipt.files == 70_001
    assert (place.code / "digits/streamed").read_bytes().startswith(b"with a")


def test_localize__zip_of_the_info_zip_program__is_read(place: Place, tmp_path: Path) -> None:
    if subprocess.run(["which", "zip"], check=False, capture_output=True).returncode:
        pytest.skip("the program zip is not here; lifted where it is")
    work = tmp_path / "work"
    (work / "größe").mkdir(parents=True)
    (work / "größe/ü").write_bytes(b"1")
    (work / "link").symlink_to("größe/ü")
    subprocess.run(["zip", "-qry", tmp_path / "a.zip", "."], cwd=work, check=True)

    place.localize(place.archive((tmp_path / "a.zip").read_bytes()))

    assert tree_of(place.code / "digits") == tree_of(work)


def test_localize__nested_archive__is_just_a_file(place: Place) -> None:
    inner = make_archive("zip")

    place.localize(place.archive(tar(item("quine.zip", inner))))

    assert (place.code / "digits/quine.zip").read_bytes() == inner


@pytest.mark.parametrize("strip", [0, 1, 2])
def test_localize__strip_components__takes_parts_off_the_front(place: Place, strip: int) -> None:
    made = tar(item("top/a/b"), item("top/c"), item("pax_global"), hard("top/a/d", "top/a/b"))
    source = msgspec.structs.replace(place.archive(made), strip_components=strip)

    place.localize(source)

    found = {os.fsdecode(path) for path in tree_of(place.code / "digits")}
    whole = ["top/a/b", "top/c", "pax_global", "top/a/d"]
    stripped = ["/".join(name.split("/")[strip:]) for name in whole]
    assert found == {name for name in stripped if name}


def test_localize__strip_components_that_leave_nothing__is_refused(place: Place) -> None:
    source = msgspec.structs.replace(place.archive(tar(item("a"))), strip_components=1)

    with pytest.raises(InvalidValue, match="holds no file after strip_components: 1"):
        place.localize(source)


def test_localize__more_than_the_limits__is_refused_as_soon_as_it_is_known(place: Place) -> None:
    zeros = packed("tar.gz", tar(item("zeros", bytes(120 * MiB))))

    with pytest.raises(LimitExceeded, match="more than 250 times as many"):
        place.localize(place.archive(zeros))

    assert place.names() == {".localize.lock"}


def test_get__archive_that_is_dropped_while_it_is_read__is_read_to_its_end(tmp_path: Path) -> None:
    cache = DigestCache(tmp_path / "cache", "", lambda _: None, size_bytes_max=1000)

    def wanted(content: bytes) -> Wanted:
        def fetch(path: Path) -> Sha256:
            path.write_bytes(content)
            return sha256_of(content)

        return Wanted(sha256_of(content), None, fetch, "an archive")

    first = cache.get(wanted(b"1" * 900))
    with first.file as file:
        cache.get(wanted(b"2" * 900)).file.close()
        names = {path.name for path in (tmp_path / "cache").iterdir()}
        assert sha256_of(b"1" * 900) not in names
        assert file.read() == b"1" * 900


def test_get__beside_a_fetch_that_is_under_way__leaves_that_alone(tmp_path: Path) -> None:
    cache = DigestCache(tmp_path / "cache", "", lambda _: None, size_bytes_max=1000)
    under_way = tmp_path / "cache" / f"{'a' * 64}.partial-01234567"
    left = tmp_path / "cache" / f"{'b' * 64}.partial-01234567"
    under_way.parent.mkdir()
    for path in (under_way, left):
        path.write_bytes(b"x" * 900)
    os.utime(left, (1, 1))

    def fetch(path: Path) -> Sha256:
        path.write_bytes(b"2" * 900)
        return sha256_of(b"2" * 900)

    cache.get(Wanted(sha256_of(b"2" * 900), None, fetch, "an archive")).file.close()

    assert under_way.exists()
    assert not left.exists()


def test_localize__archive_that_was_cut_on_the_way__is_fetched_again_next_time(
    place: Place,
) -> None:
    whole = make_archive("tar.gz")
    path = place.root / "digits.tar.gz"
    path.parent.mkdir()

    class Cutting(FileArchive):
        """A place that does not say how much there is, and a connection that breaks."""

        cut: bool = True

        def facts(self) -> RemoteFacts:
            return RemoteFacts(None, "first")

        def copy(self, facts: RemoteFacts, write: Callable[[bytes], object]) -> None:
            write(whole[:-100] if Cutting.cut else whole)

    source = ArchiveCode(path.as_uri(), "digits", etag="first")
    means = Means(place.root / "cache", lambda *_: None, lambda url, _: Cutting(url))
    with pytest.raises(InvalidValue, match="cut"):
        localize(source, code_dir=place.code, means=means)
    Cutting.cut = False

    assert localize(source, code_dir=place.code, means=means).sha256 == sha256_of(whole)


def test_localize__damaged_cached_archive__is_fetched_anew(place: Place, tmp_path: Path) -> None:
    source = place.archive(make_archive("tar.gz"))
    place.localize(source)
    (cached,) = (
        path for path in (place.root / "cache/archives").iterdir() if path.suffix != ".lock"
    )
    cached.write_bytes(cached.read_bytes()[:-100])

    receipt = place.localize(source, code=tmp_path / "again")

    assert not receipt.cached
    assert tree_of(tmp_path / "again/digits") == expected_tree()
    assert "the cached archive is damaged: fetching it anew" in place.said


def test_localize__receipt_of_version_1__counts_and_is_brought_up_to_date(place: Place) -> None:
    source = GitCode("https://example.com/digits.git", GitCommit("1" * 40), "digits", "main")
    (place.code / "digits").mkdir(parents=True)
    old = old_receipt_path(place.code, "digits")
    old.parent.mkdir()
    document = {
        "kind": "git",
        "url": source.url,
        "ref": "main",
        "commit": source.commit,
        "tree": "2" * 40,
        "files": 1,
        "size_bytes": 2,
        "duration_s": 0.1,
        "cached": True,
        "format_version": 1,
        "boot_id": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
    }
    old.write_text(json.dumps(document))

    receipt = place.localize(source)  # without a server: it is there already

    assert (receipt.tree, receipt.cached) == ("2" * 40, True)
    assert place.names() == LAYOUT
    assert json.loads(receipt_path(place.code).read_text())["commit"] == source.commit
    assert place.localize(source) == receipt


@pytest.mark.parametrize("form", ["tar", "tar.gz", "zip"])
def test_localize__full_disk_while_fetching_or_unpacking__says_so_and_leaves_nothing(
    place: Place, small_disk: Path, form: str
) -> None:
    small = make_archive(form, {"zeros.bin": bytes(8 * MiB)})
    large = make_archive(form, {"noise.bin": os.urandom(8 * MiB)})
    with pytest.raises(StoreFull, match="more space than the disk has left"):
        place.localize(place.archive(small), code=small_disk / "code")
    on_it = Place(small_disk / "place")
    source = place.archive(large)

    with pytest.raises(StoreFull, match="more space than the disk has left"):
        on_it.localize(source)

    left = {path.name for path in small_disk.rglob("*") if path.is_file()}
    assert {name for name in left if not name.endswith(".lock")} == set()


_MEMORY = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[3:]
from archive_world import Place
from seafloor.domain.code import ArchiveCode
place = Place(Path(sys.argv[1]) / "place")
source = ArchiveCode(Path(sys.argv[1], sys.argv[2]).as_uri(), "digits", size_bytes=0, etag="x")
import msgspec
from seafloor.code.file_archive import FileArchive
facts = FileArchive(source.url).facts()
source = msgspec.structs.replace(source, etag=facts.etag, size_bytes=facts.size_bytes)
place.localize(source)
status = Path("/proc/self/status").read_text()
print(status.partition("VmHWM:")[2].split()[0])
"""


@pytest.mark.parametrize("form", ["tar", "tar.gz", "tar.xz", "tar.zst", "zip"])
def test_localize__archive_of_any_size__takes_the_same_memory(tmp_path: Path, form: str) -> None:
    """Peak of the process, KiB; 128 MiB is what is allowed for 10 GiB."""
    peaks: list[int] = []
    for size in (8 * MiB, 96 * MiB):
        block = os.urandom(MiB)
        files = {"noise.bin": (block + bytes(3 * MiB)) * (size // (4 * MiB))}
        (tmp_path / f"{size}").mkdir()
        (tmp_path / f"{size}" / "made").write_bytes(make_archive(form, files))
        done = subprocess.run(
            [sys.executable, "-c", _MEMORY, str(tmp_path / f"{size}"), "made", *sys.path],
            capture_output=True,
            check=False,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout))
    assert peaks[1] - peaks[0] < 12 * 1024, peaks
    assert peaks[1] < 128 * 1024, peaks


@pytest.mark.parametrize(
    ("url", "mode", "folder", "kept"),
    [
        ("s3://bucket/a/digits-1.2.tar.gz", None, "digits-1.2", None),
        ("gs://bucket/digits.tgz", SyncMode.GS, "digits", None),
        ("az://container/digits.ZIP", SyncMode.ABFS, "digits", None),
        ("abfs://c@account.dfs.core.windows.net/d/digits.tar", SyncMode.ABFS, "digits", None),
        ("hdfs://name:8020/digits.tar.zst", SyncMode.HDFS, "digits", None),
        ("https://me@example.com/x.zip", None, "x", "https://example.com/x.zip"),
        ("https://example.com/x.zip?ref=main", None, "x", None),
        ("https://example.com/gr%C3%B6%C3%9Fe.zip", None, "größe", None),
        ("/data/digits.tar.xz", SyncMode.FILE, "digits", "file:///data/digits.tar.xz"),
        ("file:///data/my%20code", SyncMode.FILE, "my code", None),
    ],
)
def test_check_request__address__gives_the_folder_and_keeps_no_secret(
    url: str, mode: SyncMode | None, folder: str, kept: str | None
) -> None:
    code = check_request(ArchiveRequest(url, mode))

    assert code == ArchiveCode(kept or url, folder)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (ArchiveRequest("https://u:p@example.com/x.zip"), "password or a signature"),
        (ArchiveRequest("https://x.com/x.zip?X-Amz-Signature=1"), "password or a signature"),
        (ArchiveRequest("https://x.com/x.zip?sig=1"), "password or a signature"),
        (ArchiveRequest("https://x.com/x.zip?private_token=1"), "password or a signature"),
        (ArchiveRequest("https://x.com/x.zip#part"), "ends with its path"),
        (ArchiveRequest("s3://x", SyncMode.S3), "names no archive"),
        (ArchiveRequest("s3:///x.zip", SyncMode.S3), "names no archive"),
        (ArchiveRequest("file://host/x.zip", SyncMode.FILE), "names no archive"),
        (ArchiveRequest("x.zip", SyncMode.FILE), "begins with file://"),
        (ArchiveRequest("htps://x/x.zip"), 'Did you mean "https"?'),
        (ArchiveRequest("s3://b/x.zip", SyncMode.GS), "begins with gs://"),
        (ArchiveRequest("s3://b/x.zip", strip_components=-1), "strip_components is 0..32"),
        (ArchiveRequest("s3://b/x.zip", sha256="x"), "sha256"),
        (ArchiveRequest("s3://b/x.zip", name="a/b"), "cannot be the name of a folder"),
        (ArchiveRequest("s3://b/x.zip", name=".receipt.json"), "cannot be the name of a folder"),
        (ArchiveRequest("s3://b/x\n.zip"), "control characters"),
        (ArchiveRequest("s3://[b/x.zip"), "not a URL"),
    ],
)
def test_check_request__address_that_cannot_be__says_why(
    request_: ArchiveRequest, words: str
) -> None:
    with pytest.raises(InvalidValue) as raised:
        check_request(request_)

    assert words in raised.value.message


def test_tarfile__is_not_asked_to_unpack_anything() -> None:
    """What Python's own extractor lets through has changed from version to version."""
    assert not any(
        b"extractall" in path.read_bytes() or b"ZipFile" in path.read_bytes()
        for path in (Path(__file__).parents[3] / "src/seafloor/code").glob("*.py")
    )
    assert tarfile.BLOCKSIZE == 512
