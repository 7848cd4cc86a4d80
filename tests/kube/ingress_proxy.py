"""An Ingress as its controller would serve it: the annotations of ours, made settings of nginx.

Ingress-nginx itself is in no image that tests could have. What it makes of an annotation is in its
manual; what it has where there is none, too, and is the default here.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.services._service import Missing, accepts, daemon, free_port

_PREFIX: Final = "nginx.ingress.kubernetes.io/"
_SETTINGS: Final[Mapping[str, tuple[str, str, str]]] = {
    # annotation: setting, its unit, default of the controller
    "proxy-body-size": ("client_max_body_size", "", "1m"),
    "proxy-buffering": ("proxy_buffering", "", "off"),
    "proxy-request-buffering": ("proxy_request_buffering", "", "on"),
    "proxy-connect-timeout": ("proxy_connect_timeout", "s", "5"),
    "proxy-read-timeout": ("proxy_read_timeout", "s", "60"),
    "proxy-send-timeout": ("proxy_send_timeout", "s", "60"),
}
_CONFIG: Final = """\
daemon off;
pid {folder}/pid;
worker_processes 1;
{user}
events {{}}
http {{
  access_log {folder}/access.log;
  client_body_temp_path {folder}/bodies;
  proxy_temp_path {folder}/answers;
  fastcgi_temp_path {folder}/unused-1;
  uwsgi_temp_path {folder}/unused-2;
  scgi_temp_path {folder}/unused-3;
  server {{
    listen 127.0.0.1:{port};
    server_name {host};
    location / {{
      {settings}
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Connection "";
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_pass http://127.0.0.1:{upstream};
    }}
  }}
}}
"""


@dataclass(frozen=True)
class IngressProxy:
    """An nginx that answers.

    Args:
        url: Where.
        folder: What it keeps on the disk: ``bodies`` of requests and ``answers``.
    """

    url: str
    folder: Path

    def kept(self, what: str) -> list[str]:
        """Files of bodies or answers that it has on the disk now."""
        return [path.name for path in (self.folder / what).rglob("*") if path.is_file()]


def settings_of(annotations: Mapping[str, str]) -> dict[str, str]:
    """Settings of nginx by their names.

    Raises:
        KeyError: an annotation that is not known here.
    """
    found = {name: default + unit for name, unit, default in _SETTINGS.values()}
    for key, value in annotations.items():
        name, unit, _ = _SETTINGS[key.removeprefix(_PREFIX)]
        found[name] = value + unit
    return found


@contextmanager
def ingress_proxy(
    folder: Path, upstream: int, *, host: str, annotations: Mapping[str, str]
) -> Iterator[IngressProxy]:
    """Serve what listens on a port of loopback.

    Raises:
        Missing: there is no nginx on this machine.
    """
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        raise Missing("apt-get install nginx-light")
    folder.mkdir()
    port = free_port()
    settings = settings_of(annotations).items()
    config = _CONFIG.format(
        folder=folder,
        user="user root;" if os.geteuid() == 0 else "",
        port=port,
        host=host,
        upstream=upstream,
        settings=" ".join(f"{name} {value};" for name, value in settings),
    )
    (folder / "nginx.conf").write_text(config)
    command = [program, "-p", str(folder), "-e", str(folder / "errors"), "-c", "nginx.conf"]
    with daemon(command, folder / "log") as running:
        running.wait_until(lambda: accepts(port))
        yield IngressProxy(f"http://127.0.0.1:{port}", folder)
