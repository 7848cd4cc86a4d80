"""What every handler finds in the framework's state."""

from __future__ import annotations

from typing import cast

from seafloor.app.application import Application
from seafloor.http.requests import AnyRequest
from seafloor.http.views import Views


def application_of(request: AnyRequest) -> Application:
    """The application, as boot made it."""
    return cast(Application, request.app.state["application"])


def views_of(request: AnyRequest) -> Views:
    """The views."""
    return cast(Views, request.app.state["views"])
