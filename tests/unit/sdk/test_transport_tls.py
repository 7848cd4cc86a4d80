"""HTTPS to a server whose certificate the system does not know."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import urllib3
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from seafloor.domain.errors import StoreUnavailable
from seafloor.sdk.settings import Tls
from seafloor.sdk.transport import Request, Transport, TransportOptions


def _certificate(folder: Path) -> Path:
    """A certificate of our own for 127.0.0.1, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "seafloor tests")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    file = folder / "certificate.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return file


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
    return _certificate(tmp_path)


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
