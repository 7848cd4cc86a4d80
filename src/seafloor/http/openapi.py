"""The OpenAPI document, made of the handlers' own signatures.

The framework's generator knows neither arrays with fixed places nor tagged unions nor exact bounds
of integers; msgspec, which decodes and encodes the very same types, does. So the schemas are
msgspec's and the rest is read off each handler: parameters, body, answer, errors.

A handler says by ``opt`` what its signature cannot: ``takes_bytes`` (the body is raw bytes) and
``headers`` (request headers that it reads, with a description each).
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Annotated, Any, cast, get_args, get_origin, get_type_hints

import msgspec
from litestar import Litestar, Response
from litestar.handlers import HTTPRouteHandler
from litestar.params import ParameterKwarg
from litestar.response import Stream
from litestar.routes import HTTPRoute

from seafloor.http.errors import DESCRIPTIONS
from seafloor.wire.errors import ErrorBody

Json = dict[str, Any]

BYTES = "application/octet-stream"
ALWAYS = (400, 401, 403, 503)
WRITING = (413, 507)
_REF = "#/components/schemas/{name}"
_PATTERNS = {
    "run_id": "^[0-9a-f]{4,32}$",
    "sha256": "^[0-9a-f]{64}$",
    "model_id": "^m-[0-9a-f]{32}$",
    "blob": "^[0-9a-f]{64}\\.(png|jpeg|gif|webp|svg|wav|mp3|ogg|flac|json|txt)$",
    "task": "^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$",
    "reference": "^[a-z0-9]([a-z0-9._-]*[a-z0-9])?(@[1-9][0-9]{0,8})?$",
}
"""What a text in a path looks like; the handlers refuse others in their own words."""

_STATUS_WORDS = {200: "Done.", 201: "Created.", 206: "The range that was asked for."}


def make_document(app: Litestar, *, version: str) -> Json:
    """Make the document of every route that is part of the native API."""
    types: list[Any] = [ErrorBody]
    paths: dict[str, Json] = {}
    for path, method, handler in operations(app):
        paths.setdefault(path, {})[method.lower()] = _operation(path, method, handler, types)
    _, components = msgspec.json.schema_components(types, ref_template=_REF)
    for schema in components.values():
        if "description" in schema:
            schema["description"] = inspect.cleandoc(schema["description"])
    return {
        "openapi": "3.1.0",
        "info": {"title": "Seafloor", "version": version},
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The server's token, or a task's; not on a loopback server "
                    "without authentication.",
                }
            },
        },
    }


def operations(app: Litestar) -> Iterable[tuple[str, str, HTTPRouteHandler]]:
    """Every (path, method, handler) of the document."""
    for route in app.routes:
        if not isinstance(route, HTTPRoute):
            continue
        for handler in route.route_handlers:
            if not handler.resolve_include_in_schema():
                continue
            for method in sorted(handler.http_methods - {"OPTIONS"}):
                yield route.path_format, method, handler


def _operation(path: str, method: str, handler: HTTPRouteHandler, types: list[Any]) -> Json:
    function = handler.fn
    hints = get_type_hints(function, include_extras=True)
    parameters = [
        _parameter(path, parameter, hints[parameter.name])
        for parameter in inspect.signature(function).parameters.values()
        if parameter.name not in ("request", "data")
    ]
    parameters += [
        {"name": name, "in": "header", "required": False, "description": said}
        | {"schema": {"type": "string"}}
        for name, said in cast(Mapping[str, str], handler.opt.get("headers", {})).items()
    ]
    made: Json = {
        "operationId": function.__name__,
        "summary": handler.summary,
        "description": inspect.getdoc(function) or "",
        "tags": [*(handler.tags or [_noun(path)])],
        "parameters": parameters,
        "responses": _responses(method, handler, hints["return"], types),
    }
    if "data" in hints:
        shape, *_ = get_args(hints["data"])  # JSONBody[shape]
        types.append(shape)
        made["requestBody"] = _body("application/json", _schema(shape))
    elif handler.opt.get("takes_bytes"):
        made["requestBody"] = _body(BYTES, {"type": "string", "format": "binary"})
    return made


def _noun(path: str) -> str:
    return path.removeprefix("/api/v1/").strip("/").split("/")[0]


def _body(media_type: str, schema: Json) -> Json:
    return {"required": True, "content": {media_type: {"schema": schema}}}


def _parameter(path: str, parameter: inspect.Parameter, hint: Any) -> Json:
    plain, bounds = hint, None
    if get_origin(hint) is Annotated:
        plain, *extras = get_args(hint)
        bounds = next((extra for extra in extras if isinstance(extra, ParameterKwarg)), None)
    name = (bounds.name if bounds is not None else None) or parameter.name
    in_path = f"{{{parameter.name}}}" in path
    schema = _schema(_without_none(plain))
    if bounds is not None:
        limits = {"minimum": bounds.ge, "maximum": bounds.le}
        schema |= {key: value for key, value in limits.items() if value is not None}
    if in_path and name in _PATTERNS:
        schema["pattern"] = _PATTERNS[name]
    if parameter.default not in (inspect.Parameter.empty, None):
        schema["default"] = parameter.default
    return {
        "name": name,
        "in": "path" if in_path else "query",
        "required": in_path or parameter.default is inspect.Parameter.empty,
        "schema": schema,
    }


def _without_none(hint: Any) -> Any:
    """The type that a parameter has when it is given at all."""
    kept = [part for part in get_args(hint) if part is not type(None)]
    return kept[0] if type(None) in get_args(hint) else hint


def _schema(hint: Any) -> Json:
    """A schema; of structs, the reference to it."""
    (schema,), components = msgspec.json.schema_components([hint], ref_template=_REF)
    if isinstance(hint, type) and issubclass(hint, Enum):  # small, and read where it stands
        return {"enum": components[hint.__name__]["enum"]}
    if get_origin(hint) is list:
        return {"type": "array", "items": _schema(get_args(hint)[0])}
    return dict(schema)


def _responses(method: str, handler: HTTPRouteHandler, answer: Any, types: list[Any]) -> Json:
    error = {"application/json": {"schema": _schema(ErrorBody)}}
    content = _content(handler, answer, types)
    status = handler.status_code
    made: dict[int, Json] = {status: _response(_STATUS_WORDS.get(status, ""), content)}
    if "Range" in handler.opt.get("headers", {}):
        made[206] = _response(_STATUS_WORDS[206], content)
        made[416] = _response(DESCRIPTIONS[416], error)
    if method in ("GET", "HEAD") and "If-None-Match" in handler.opt.get("headers", {}):
        made[304] = _response("The content has one of the ETags in `If-None-Match`.", None)
    if handler.opt.get("may_be_elsewhere"):
        made[307] = _response("The bytes are at `Location`, in the object store.", None)
    writes = WRITING if method not in ("GET", "HEAD") else ()
    for code in {*ALWAYS, *writes, *(handler.responses or ())} - set(made):
        made[code] = _response(DESCRIPTIONS[code], None if method == "HEAD" else error)
    return {str(code): made[code] for code in sorted(made)}


def _response(description: str, content: Json | None) -> Json:
    return {"description": description} | ({} if content is None else {"content": content})


def _content(handler: HTTPRouteHandler, answer: Any, types: list[Any]) -> Json | None:
    if answer is Stream:
        return {str(handler.media_type): {"schema": {"type": "string", "format": "binary"}}}
    if get_origin(answer) is Response:
        (answer,) = get_args(answer)
    if answer is None or answer is type(None):
        return None
    shapes = get_args(answer) or (answer,)
    types.extend(shapes)
    schemas = [_schema(shape) for shape in shapes]
    return {"application/json": {"schema": schemas[0] if len(shapes) == 1 else {"anyOf": schemas}}}
