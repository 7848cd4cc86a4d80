"""``/api/2.0/mlflow/runs/log-model``: how clients before 3 tell which models a run logged."""

from __future__ import annotations

from typing import Any, cast

import msgspec
from litestar import post
from litestar.handlers import HTTPRouteHandler

from seafloor.app.runs import TAG_CHARS_MAX
from seafloor.domain.errors import InvalidValue, LimitExceeded
from seafloor.http.mlflow import words
from seafloor.http.mlflow.bodies import body_of
from seafloor.http.mlflow.entities import Json
from seafloor.http.mlflow.runs import active_run
from seafloor.http.requests import AnyRequest
from seafloor.http.state import application_of
from seafloor.stores.entries.protocol import Entries

TAG = "mlflow.log-model.history"
_REQUIRED = ("artifact_path", "flavors", "utc_time_created", "run_id")
_KEPT = ("run_id", "utc_time_created", "artifact_path", "model_uuid")


class _LogModel(msgspec.Struct):
    run_id: str = ""
    model_json: str = ""


@post("/runs/log-model", status_code=200)
async def log_model(request: AnyRequest) -> Json:
    """Note a model at the end of the run's tag of models.

    The tag is read and then written: of two models that come at the same time one may be missing
    in it, as clients log one after the other. A list too long for a tag is refused, not cut.
    """
    body = await body_of(request, _LogModel)
    if not body.model_json:
        raise words.missing("model_json")
    noted = _noted(body.model_json)
    found = await active_run(request, body.run_id)
    app = application_of(request)
    earlier = (await app.runs.details(found.id)).labels.tags.get(TAG, "[]")
    try:
        models = msgspec.json.decode(earlier, type=list[dict[str, Any]])
    except (msgspec.DecodeError, UnicodeError) as error:
        raise InvalidValue(f"The tag {TAG} is not a list of models.", field="model_json") from error
    text = msgspec.json.encode([*models, noted]).decode()
    if len(text) > TAG_CHARS_MAX:
        raise LimitExceeded(
            f"The models of the run {found.id} are over the {TAG_CHARS_MAX} characters of a tag.",
            field="model_json",
        )
    await app.runs.log(found.id, Entries(tags={TAG: text}))
    return {}


def _noted(model_json: str) -> dict[str, Any]:
    """What of a model's description is kept: all but the configurations of its flavors.

    Raises:
        InvalidValue: it is not a description.
    """
    try:
        model = msgspec.json.decode(model_json, type=dict[str, Any])
        flavors = msgspec.convert(model.get("flavors", {}), type=dict[str, Any])
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeError) as error:
        raise InvalidValue(
            f"Malformed model info. \n {model_json[:200]} \n is not a valid JSON.",
            field="model_json",
        ) from error
    missing = [name for name in _REQUIRED if name not in model]
    if missing:
        raise InvalidValue(f"Model json is missing mandatory fields: {missing}", field="model_json")
    made: dict[str, Any] = {name: model[name] for name in _KEPT if name in model}
    made["flavors"] = {name: _without_config(value) for name, value in flavors.items()}
    return made


def _without_config(flavor: Any) -> Any:
    if not isinstance(flavor, dict):
        return flavor
    return {k: v for k, v in cast(dict[str, Any], flavor).items() if k != "config"}


ROUTES: list[HTTPRouteHandler] = [log_model]
