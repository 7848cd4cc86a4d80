"""Servers behind proxies and with certificates of one's own, as the environment says."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from certificates import make_authority
from connect_proxy import ConnectProxy
from seafloor.domain.errors import StoreUnavailable
from seafloor.sdk.settings import Tls
from seafloor.sdk.transport import Request, Transport, TransportOptions
from seafloor.sdk.ways import proxy_for

NAME = "seafloor.test"
PASSWORD = "p@ss:wörd"
QUOTED = "p%40ss%3Aw%C3%B6rd"


class _Hello(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """One that names no proxy and no authority."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ssl_cert_file"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    return make_authority(tmp_path, NAME)[1]


@pytest.fixture
def port(authority: Path) -> Iterator[int]:
    """Of a server whose name only proxies know."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority, authority.parent / "key.pem")
    with HTTPServer(("127.0.0.1", 0), _Hello) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def ask(url: str) -> None:
    transport = Transport(url, options=TransportOptions(connect_s=60, read_s=60, repeat_s=0))
    try:
        transport.send(Request("GET", "/"))
    finally:
        transport.close()


def refused(url: str) -> str:
    with pytest.raises(StoreUnavailable) as caught:
        ask(url)
    return caught.value.message


@pytest.mark.parametrize("variable", ["https_proxy", "HTTPS_PROXY"])
@pytest.mark.parametrize(
    ("password", "written"),
    [("", "http://{}"), ("", "{}"), (PASSWORD, f"http://bob:{QUOTED}@{{}}")],
    ids=["plain", "without a scheme", "with a password"],
)
def test_https__past_a_proxy__answers(
    environment: pytest.MonkeyPatch,
    authority: Path,
    port: int,
    variable: str,
    password: str,
    written: str,
) -> None:
    user = "bob" if password else ""
    with ConnectProxy(user, password, hosts={NAME: "127.0.0.1"}) as proxy:
        environment.setenv(variable, written.format(proxy.address))
        environment.setenv("SSL_CERT_FILE", str(authority))
        ask(f"https://{NAME}:{port}")
        assert proxy.targets == [f"{NAME}:{port}"]
        assert b"GET /" not in proxy.seen  # it sees an encrypted tunnel


def test_https__the_proxy_wants_another_password__names_the_proxy_and_shows_none(
    environment: pytest.MonkeyPatch, port: int
) -> None:
    with ConnectProxy("bob", PASSWORD, hosts={NAME: "127.0.0.1"}) as proxy:
        environment.setenv("https_proxy", f"http://bob:secret@{proxy.address}")
        environment.setenv("http_proxy", f"http://bob:secret@{proxy.address}")
        for scheme in ("https", "http"):  # of which the second has no tunnel
            said = refused(f"{scheme}://{NAME}:{port}")
            assert f"http://{proxy.address}, which {scheme}_proxy names" in said
            assert "password" in said
            assert "secret" not in said
        assert not proxy.targets


@pytest.mark.parametrize("named", ["http://127.0.0.1:9", "127.0.0.1:9"])
def test_proxy__does_not_answer__is_not_the_server(
    environment: pytest.MonkeyPatch, named: str
) -> None:
    environment.setenv("https_proxy", named)
    said = refused(f"https://{NAME}")
    assert "The proxy http://127.0.0.1:9, which https_proxy names" in said
    assert "refused" in said


@pytest.mark.parametrize(
    "named", ["socks5://u:secret@127.0.0.1:9", "http://", "http://h:99999999", "http://[::1"]
)
def test_proxy__is_none_that_is_known__says_how_to_write_it(
    environment: pytest.MonkeyPatch, named: str
) -> None:
    environment.setenv("https_proxy", named)
    said = refused(f"https://{NAME}")
    assert "https_proxy" in said
    assert "http://HOST:PORT" in said
    assert "secret" not in said


@pytest.mark.parametrize(
    ("bypassed", "url"),
    [
        (NAME, f"https://{NAME}:8443"),
        (f"{NAME}:8443", f"https://{NAME}:8443"),
        (f"{NAME}:443", f"https://{NAME}"),
        ("test", f"https://{NAME}"),
        ("*", f"https://{NAME}"),
        ("", "https://127.0.0.1"),
        ("", "https://localhost:1"),
        ("", "https://[::1]:1"),
    ],
)
def test_proxy__host_is_named_in_no_proxy__is_not_asked(
    environment: pytest.MonkeyPatch, bypassed: str, url: str
) -> None:
    environment.setenv("https_proxy", "http://127.0.0.1:9")

    environment.setenv("no_proxy", bypassed)
    assert proxy_for(url) is None
    environment.setenv("no_proxy", "else")
    assert (proxy_for(url) is None) == (not bypassed)


def test_certificate__nobody_known_signed_it__says_where_to_name_the_authority(
    environment: pytest.MonkeyPatch, authority: Path, port: int
) -> None:
    url = f"https://127.0.0.1:{port}"
    other = authority.parent / "other"
    other.mkdir()
    believed = make_authority(other, NAME)[1]
    environment.setenv("SSL_CERT_FILE", str(believed))
    said = refused(url)
    assert "no authority that is known here" in said
    assert f'SSL_CERT_FILE; what stands in "{believed}"' in said
    environment.setenv("SSL_CERT_FILE", str(other / "missing"))
    assert "no such file is believed now" in refused(url)
    options = TransportOptions(repeat_s=0, tls=Tls(authorities=str(believed)))
    transport = Transport(url, options=options)
    with pytest.raises(StoreUnavailable, match=str(believed)):
        transport.send(Request("GET", "/"))
    transport.close()


def test_certificate__of_another_name__says_so(
    environment: pytest.MonkeyPatch, authority: Path, port: int
) -> None:
    environment.setenv("SSL_CERT_FILE", str(authority))
    ask(f"https://127.0.0.1:{port}")
    said = refused(f"https://localhost:{port}")
    assert "is of another name" in said
    assert "localhost" in said


def test_https__of_a_server_without_tls__says_so() -> None:
    with HTTPServer(("127.0.0.1", 0), _Hello) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        said = refused(f"https://127.0.0.1:{server.server_port}")
        server.shutdown()
        thread.join()
    assert "does not speak TLS" in said
