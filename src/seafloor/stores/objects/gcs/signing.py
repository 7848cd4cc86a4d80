"""What a service account's key signs: requests for tokens, and URLs."""

from __future__ import annotations

import base64
import hashlib
import time
from datetime import UTC, datetime
from urllib.parse import quote, urlencode, urlsplit

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from seafloor.domain.errors import InvalidValue

_ASSERTION_S = 3600


class ServiceKey:
    """The key of a service account. Never shown.

    Args:
        email: Of the account.
        private_key: PEM.
        key_id: Google's name for the key; may be empty.

    Raises:
        InvalidValue: it is no RSA key.
    """

    def __init__(self, *, email: str, private_key: str, key_id: str = "") -> None:
        self.email = email
        self._key_id = key_id
        try:
            key = serialization.load_pem_private_key(private_key.encode(), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, rsa.RSAPrivateKey):
            # Without the cause: what the parser says may quote the key.
            raise InvalidValue(
                f"The key file of {email or 'the service account'} holds no RSA key: "
                "download it again.",
                field="GOOGLE_APPLICATION_CREDENTIALS",
            ) from None
        self._key = key

    def assertion(self, *, audience: str, scope: str) -> str:
        """Make a signed request (JWT, RS256) for a token, good for an hour."""
        now_s = int(time.time())
        header = {"alg": "RS256", "typ": "JWT"} | ({"kid": self._key_id} if self._key_id else {})
        claims = {
            "iss": self.email,
            "scope": scope,
            "aud": audience,
            "iat": now_s,
            "exp": now_s + _ASSERTION_S,
        }
        signed = b".".join(_base64url(msgspec.json.encode(part)) for part in (header, claims))
        return b".".join((signed, _base64url(self._sign(signed)))).decode()

    def signed_url(
        self, method: str, endpoint: str, path: str, *, expires_s: int, now: datetime | None = None
    ) -> str:
        """Sign a URL by Google's V4 rule; whoever has it may make that one request.

        Args:
            method: ``GET`` or ``PUT``.
            endpoint: Scheme and host.
            path: ``/bucket/key``, not encoded.
            expires_s: How long it is good.
            now: From when on; the clock's time when None.

        Source: cloud.google.com/storage/docs/authentication/canonical-requests.
        """
        moment = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
        scope = f"{moment[:8]}/auto/storage/goog4_request"
        encoded = quote(path, safe="/")
        query = urlencode(
            {
                "X-Goog-Algorithm": "GOOG4-RSA-SHA256",
                "X-Goog-Credential": f"{self.email}/{scope}",
                "X-Goog-Date": moment,
                "X-Goog-Expires": str(expires_s),
                "X-Goog-SignedHeaders": "host",
            },
            quote_via=quote,
            safe="",
        )
        canonical = "\n".join(
            (
                *(method, encoded, query, f"host:{urlsplit(endpoint).netloc}"),
                *("", "host", "UNSIGNED-PAYLOAD"),
            )
        )
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        signature = self._sign("\n".join(("GOOG4-RSA-SHA256", moment, scope, digest)).encode())
        return f"{endpoint}{encoded}?{query}&X-Goog-Signature={signature.hex()}"

    def _sign(self, data: bytes) -> bytes:
        return self._key.sign(data, padding.PKCS1v15(), hashes.SHA256())


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
