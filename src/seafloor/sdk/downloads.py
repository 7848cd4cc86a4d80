"""One file on its way here: from the object store itself where that goes, else from the server.

A large file of an object store that gives URLs does not pass the server: it answers with one. Where
this machine has no way there, or the bytes break off, the server gives the rest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, BinaryIO, Final

from seafloor.domain.errors import InvalidValue, StoreCorrupt, StoreUnavailable
from seafloor.sdk.settings import check_url
from seafloor.sdk.transport import Request, Transport, make_pool

if TYPE_CHECKING:
    import urllib3

_PIECE_BYTES: Final = 1024 * 1024
_CUTS_MAX: Final = 5
_NONE: Final[Mapping[str, str]] = {}

Progress = Callable[[int], None]
"""Told how many further bytes were moved; less than none where they are moved again."""


class Download:
    """Brings what a path of a server gives into a file, and compares it with its digest.

    Args:
        transport: To the server.
        address: The path.
        file: Empty.
        progress: Told of what comes.
        headers: Sent with each request to the server.
    """

    def __init__(
        self,
        transport: Transport,
        address: str,
        file: BinaryIO,
        progress: Progress,
        *,
        headers: Mapping[str, str] = _NONE,
    ) -> None:
        self._transport = transport
        self._address = address
        self._file = file
        self._progress = progress
        self._headers = headers
        self._digest = hashlib.sha256()
        self._done_bytes = 0
        self._etag: str | None = None
        self._wanted: str | None = None
        self._tries_direct = self._came_direct = False

    def run(self, *, may_be_direct: bool) -> int:
        """Bring it; a connection that is cut is made again and goes on where it was.

        Args:
            may_be_direct: Whether to ask for a URL past the server.

        Returns:
            Its size in bytes.

        Raises:
            StoreCorrupt: the bytes are not those of the digest.
            StoreUnavailable: it breaks off again and again.
        """
        self._tries_direct = may_be_direct and self._transport.reaches_objects
        self._bring()
        if self._is_wrong() and self._came_direct:
            # Replaced meanwhile, or damaged: the server knows which.
            self._begin_anew()
            self._bring()
        if self._is_wrong():
            raise StoreCorrupt(
                "What arrived is not what was stored: its sha256 differs. Fetch it again; if it "
                "stays so, the store is damaged."
            )
        return self._done_bytes

    def _is_wrong(self) -> bool:
        return self._wanted is not None and self._digest.hexdigest() != self._wanted

    def _begin_anew(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self._progress(-self._done_bytes)
        self._digest, self._done_bytes = hashlib.sha256(), 0

    def _bring(self) -> None:
        import urllib3

        cuts = 0
        while True:
            begun_bytes = self._done_bytes
            try:
                self._bring_rest()
            except urllib3.exceptions.HTTPError as error:
                cuts = 1 if self._done_bytes - begun_bytes >= _PIECE_BYTES else cuts + 1
                if cuts > _CUTS_MAX:
                    raise StoreUnavailable(
                        "The connection breaks again and again; "
                        f"{self._done_bytes} bytes had arrived.",
                        detail=repr(error),
                    ) from error
            else:
                return

    def _bring_rest(self) -> None:
        """Ask for what is missing, and take it as far as it comes."""
        done_bytes = self._done_bytes
        headers = dict(self._headers)
        if done_bytes:
            headers["Range"] = f"bytes={done_bytes}-"
        if done_bytes and self._etag is not None:
            headers["If-Range"] = self._etag  # another content by now comes whole
        tries_direct, self._tries_direct = self._tries_direct, False
        request = Request(
            "GET",
            self._address,
            query=[("direct", tries_direct or None)],
            headers=headers,
            may_be_elsewhere=tries_direct,
        )
        with self._transport.open(request) as response:
            if done_bytes and response.status != 206:
                self._begin_anew()
            self._wanted = response.headers.get("X-Content-SHA256")
            self._etag = response.headers.get("ETag")
            if response.status != 307:
                self._take(response)
                return
            url = response.headers.get("Location", "")
        try:
            self._take_from(url)
        finally:
            self._came_direct = self._done_bytes > 0
            if not self._came_direct:  # so that the next file need not wait for that
                self._transport.reaches_objects = False

    def _take_from(self, url: str) -> None:
        """Take the bytes from where they lie; what does not come from there the server gives."""
        import urllib3

        options = self._transport.options
        try:
            pool = make_pool(check_url(url.partition("?")[0], field="Location"), options.tls)
        except (InvalidValue, StoreUnavailable) as error:  # no address, or no proxy to it
            raise urllib3.exceptions.LocationParseError(url.partition("?")[0]) from error
        timeout = urllib3.Timeout(connect=options.connect_s, read=options.read_s)
        with pool:
            response = pool.urlopen(
                "GET", url, preload_content=False, redirect=False, retries=False, timeout=timeout
            )
            try:
                if response.status != 200:
                    raise urllib3.exceptions.HTTPError(f"the store answered {response.status}")
                self._take(response)
            finally:
                response.close()

    def _take(self, response: urllib3.BaseHTTPResponse) -> None:
        with self._transport.waiting() as heard:
            while piece := response.read1(_PIECE_BYTES):
                heard()
                self._file.write(piece)
                self._digest.update(piece)
                self._done_bytes += len(piece)
                self._progress(len(piece))
