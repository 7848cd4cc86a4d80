"""Archives on web servers: as they redirect, ask for passwords, break off and change."""

from __future__ import annotations

import random
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from archive_world import ArchiveServer, Served
from certificates import make_authority
from seafloor.code.archive import ArchiveRequest, RemoteFacts, resolve_archive
from seafloor.code.http_archive import TRIES_MAX, HttpArchive
from seafloor.domain.errors import SourceError

CONTENT = random.Random(1).randbytes(1_000_000)


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No proxy and no passwords but those of the test."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def web() -> Iterator[ArchiveServer]:
    with ArchiveServer() as server:
        server.files["/a.tar"] = Served(CONTENT)
        yield server


def remote(url: str, _secret: None = None) -> HttpArchive:
    return HttpArchive(url, wait=lambda _seconds: None)


def read(url: str, facts: RemoteFacts | None = None) -> bytes:
    """What arrives."""
    archive = remote(url)
    parts: list[bytes] = []
    archive.copy(facts or archive.facts(), parts.append)
    return b"".join(parts)


def test_copy__file_on_a_server__is_what_facts_said(web: ArchiveServer) -> None:
    facts = remote(f"{web.url}/a.tar").facts()

    assert facts == RemoteFacts(len(CONTENT), '"first"')
    assert read(f"{web.url}/a.tar", facts) == CONTENT


@pytest.mark.parametrize("ranges", [True, False], ids=["from the middle", "from the beginning"])
@pytest.mark.parametrize("etag", ['"strong"', 'W/"weak"', None])
def test_copy__connection_that_breaks__goes_on_where_it_stopped(
    web: ArchiveServer, ranges: bool, etag: str | None
) -> None:
    served = web.files["/a.tar"]
    served.ranges, served.etag, served.modified = ranges, etag, "Wed, 21 Oct 2015 07:28:00 GMT"
    facts = remote(f"{web.url}/a.tar").facts()
    # One that begins anew each time must come further than the last one.
    served.cut_after = [300_000, 100_000, 0, 1] if ranges else [300_000, 1, 500_000, 0]
    web.asked.clear()

    assert read(f"{web.url}/a.tar", facts) == CONTENT

    assert len(web.asked) == 5
    conditions = {headers.get("if-range") for _, headers in web.asked[1:]}
    assert conditions == {etag if etag == '"strong"' else None}


def test_copy__connection_that_breaks_again_and_again__gives_up_with_the_address(
    web: ArchiveServer,
) -> None:
    served = web.files["/a.tar"]
    facts = remote(f"{web.url}/a.tar").facts()
    served.cut_after = [1000] + [0] * TRIES_MAX

    with pytest.raises(SourceError, match=r"/a.tar cannot be fetched: the connection"):
        read(f"{web.url}/a.tar", facts)


def test_copy__file_replaced_while_it_is_read__is_refused_with_both_values(
    web: ArchiveServer,
) -> None:
    served = web.files["/a.tar"]
    facts = remote(f"{web.url}/a.tar").facts()
    served.cut_after = [300_000]

    def replaced() -> None:
        if not served.cut_after:
            served.content, served.etag = b"other" * 100_000, '"second"'

    served.before = replaced

    with pytest.raises(SourceError, match=r'was "first", 1000000.*is "second", 500000'):
        read(f"{web.url}/a.tar", facts)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_copy__server_that_is_busy__is_asked_again(web: ArchiveServer, status: int) -> None:
    web.files["/a.tar"].status = [status, status]

    assert read(f"{web.url}/a.tar") == CONTENT


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "asks for a password, or refuses the one it got"),
        (403, "may not be read by us (403 Forbidden)"),
        (404, "There is nothing at"),
        (407, "The proxy on the way"),
        (410, "There is nothing at"),
        (418, "was answered with 418"),
        (599, "was answered with 599"),
        (204, "was answered with 204 No Content"),
    ],
)
def test_facts__answer_that_is_not_the_archive__says_which_in_words(
    web: ArchiveServer, status: int, words: str
) -> None:
    web.files["/a.tar"].status = [status]

    with pytest.raises(SourceError) as raised:
        remote(f"{web.url}/a.tar").facts()

    assert words in raised.value.message
    assert f"{web.url}/a.tar" in raised.value.message


def test_facts__server_that_stays_busy__is_given_up(web: ArchiveServer) -> None:
    web.files["/a.tar"].status = [503] * 50

    with pytest.raises(SourceError, match="cannot be fetched: the server answers 503 Service"):
        remote(f"{web.url}/a.tar").facts()

    assert len(web.asked) == TRIES_MAX


def test_copy__redirects__are_followed_and_passwords_stay_where_they_are_for(
    web: ArchiveServer, surroundings: Path
) -> None:
    (surroundings / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    (surroundings / ".netrc").chmod(0o600)
    web.files["/a.tar"].login = "me:secret"
    web.files["/old"] = Served(location="/older")
    web.files["/older"] = Served(
        location=f"http://localhost:{web.url.rpartition(':')[2]}/elsewhere"
    )
    web.files["/elsewhere"] = Served(location=f"{web.url}/a.tar")

    assert read(f"{web.url}/old") == CONTENT

    sent = {path: "authorization" in headers for path, headers in web.asked}
    assert sent == {"/old": True, "/older": True, "/elsewhere": False, "/a.tar": True}


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("/round", "redirects more than 5 times"),
        ("ftp://example.com/a.tar", "redirects to no address"),
        ("file:///etc/passwd", "redirects to no address"),
        ("http://[bad/x", "redirects to no address"),
        ("http://host:99999/x", "redirects to no address"),
    ],
)
def test_facts__redirects_that_lead_nowhere__are_refused(
    web: ArchiveServer, location: str, words: str
) -> None:
    web.files["/round"] = Served(location=location)

    with pytest.raises(SourceError, match=words):
        remote(f"{web.url}/round").facts()


def test_facts__wrong_password__is_told_apart_from_not_found(
    web: ArchiveServer, surroundings: Path
) -> None:
    (surroundings / ".netrc").write_text("machine 127.0.0.1 login me password wrong\n")
    (surroundings / ".netrc").chmod(0o600)
    web.files["/a.tar"].login = "me:secret"

    with pytest.raises(SourceError, match=r"asks for a password.*\.netrc") as raised:
        remote(f"{web.url}/a.tar").facts()

    assert "wrong" not in raised.value.message


def test_facts__host_or_port_that_is_not_there__says_so_with_the_address() -> None:
    with socket.socket() as bound:  # so that nobody else can begin to listen there
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        with pytest.raises(SourceError, match=f"127.0.0.1:{port}/a.tar.*cannot be reached"):
            remote(f"http://127.0.0.1:{port}/a.tar").facts()
    with pytest.raises(SourceError, match=r"There is no host no-such-host\.invalid"):
        remote("http://no-such-host.invalid/a.tar").facts()


def test_copy__through_a_proxy__asks_it_for_the_whole_address(
    web: ArchiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = "http://archives.example.com/a.tar"
    web.files[far] = Served(CONTENT)
    monkeypatch.setenv("http_proxy", web.url.replace("http://", "http://me:secret@"))

    assert read(far) == CONTENT
    assert web.asked[0][1]["proxy-authorization"].startswith("Basic ")

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    web.asked.clear()
    assert read(f"{web.url}/a.tar") == CONTENT
    assert web.asked[0][0] == "/a.tar"


def test_copy__certificate_of_ones_own_authority__is_trusted_when_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate = make_authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = ArchiveServer()
    server.wrap(context)
    with server:
        url = server.url.replace("http://", "https://")
        server.files["/a.tar"] = Served(CONTENT)
        server.files["/down"] = Served(location=f"{server.url}/a.tar")

        with pytest.raises(SourceError, match=r"not trusted.*SSL_CERT_FILE"):
            remote(f"{url}/a.tar").facts()
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert read(f"{url}/a.tar") == CONTENT
        with pytest.raises(SourceError, match="without encryption"):
            remote(f"{url}/down").facts()


def test_resolve_archive__time_of_change_alone__does(web: ArchiveServer) -> None:
    served = web.files["/a.tar"]
    served.etag, served.modified = None, "Wed, 21 Oct 2015 07:28:00 GMT"

    found = resolve_archive(ArchiveRequest(f"{web.url}/a.tar"), remote)

    assert found.etag == "last-modified: Wed, 21 Oct 2015 07:28:00 GMT"
