"""HTTPS to a server whose certificate the system does not know."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import urllib3

from certificates import make_certificate
from seafloor.domain.errors import StoreUnavailable
from seafloor.sdk.settings import Tls
from seafloor.sdk.transport import Request, Transport, TransportOptions


class _Hello(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Authorized", str("Authorization" in self.headers))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return make_certificate(tmp_path)


@pytest.fixture
def url(certificate: Path) -> Iterator[str]:
    """A server that asks for a client's certificate, too."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.load_verify_locations(certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    with HTTPServer(("127.0.0.1", 0), _Hello) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"https://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def _ask(url: str, tls: Tls, token: str = "") -> dict[str, str]:
    options = TransportOptions(connect_s=60, read_s=60, repeat_s=0, tls=tls)
    transport = Transport(url, token, options=options)
    try:
        return transport.send(Request("GET", "/"))
    finally:
        transport.close()


def test_https__with_the_authority_and_our_certificate__answers(
    url: str, certificate: Path
) -> None:
    tls = Tls(authorities=str(certificate), certificate=str(certificate))
    assert _ask(url, tls)["authorized"] == "False"
    assert _ask(url, tls, "secret")["authorized"] == "True"


def test_https__an_unknown_certificate__is_not_believed(url: str, certificate: Path) -> None:
    with pytest.raises(StoreUnavailable):
        _ask(url, Tls(certificate=str(certificate)))


def test_https__unchecked__answers(url: str, certificate: Path) -> None:
    with pytest.warns(urllib3.exceptions.InsecureRequestWarning):
        _ask(url, Tls(is_checked=False, certificate=str(certificate)))
