"""The OpenAPI document: what FastAPI writes of the doors, and what it cannot know of them.

Which errors a door answers with follows from what it takes and for whom it is, and from what it says that it
`raises`; nobody lists a status by hand.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import iter_route_contexts
from pydantic.json_schema import models_json_schema

from shared.auth.csrf import HEADER, SAFE_METHODS, CsrfFailed
from shared.auth.deps import COOKIE, NobodyServed, serves_operators
from shared.auth.revocations import RevocationsOld, SessionEnded
from shared.auth.tokens import TokenExpired, TokenInvalid
from shared.bus.idempotency import KeyReused, StillRunning
from shared.bus.witness import NotAsWitnessed, WitnessMissing, WitnessUnusable
from shared.errors import (
    AppError,
    BadRequest,
    Forbidden,
    Invalid,
    NotFound,
    PreconditionFailed,
    PreconditionRequired,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from shared.http.answers import Problem, ProblemField
from shared.http.doors import Door
from shared.http.hosts import ForeignHost
from shared.http.idempotency import KeyMissing
from shared.http.problems import MEDIA_TYPE
from shared.http.request_body import UnsupportedMediaType
from shared.http.validation import UnknownField
from shared.paging import CursorInvalid

Errors = Iterator[type[AppError]]

_PREFIX = "/api/v1/"
_REF = "#/components/{0}/{1}"
_SECURITY = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A session token, as log-in gives it; good for twelve hours at most.",
    },
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": COOKIE,
        "description": "The same token as browsers have it.",
    },
    "csrf": {
        "type": "apiKey",
        "in": "header",
        "name": HEADER,
        "description": "With the cookie, whatever changes something proves that a page of this session sent "
        "it: the hidden field `csrf_token` of any of its forms.",
    },
}
_PARAMETERS: dict[str, dict[str, Any]] = {
    "idempotency-key": {
        "name": "Idempotency-Key",
        "in": "header",
        "required": True,
        "description": "The same request under the same key makes one thing and gets the same answer, for "
        "a day at least: send it again when no answer came. A UUID will do.",
        "schema": {"type": "string", "pattern": "^[\\x21-\\x7e]{8,128}$"},
        "example": "01990a8e-5d2c-7a41-9c1b-0d6a4f3e2b10",
    },
    "if-match": {
        "name": "If-Match",
        "in": "header",
        "required": True,
        "description": "The ETag of what was read, so that nobody decides on something that has changed.",
        "schema": {"type": "string", "pattern": '^"[0-9]+"$'},
        "example": '"3"',
    },
}
_RETRY_AFTER = {
    "Retry-After": {
        "description": "seconds",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    }
}
_HEADERS: dict[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": {"required": True, "schema": {"const": "Bearer"}}},
    429: _RETRY_AFTER,
    503: _RETRY_AFTER,
}
_OF_EVERY_DOOR = (AppError, ForeignHost, Unavailable, NotAsWitnessed, WitnessMissing, WitnessUnusable)
_OF_A_BODY = (BadRequest, TooLarge, UnsupportedMediaType, Invalid, UnknownField)
_OF_A_LOG_IN = (Unauthenticated, TokenInvalid, TokenExpired, SessionEnded, Forbidden, RevocationsOld)
_OF_PARAMETERS: Mapping[str, tuple[type[AppError], ...]] = {
    "idempotency-key": (KeyMissing, KeyReused, StillRunning),
    "if-match": (PreconditionRequired, PreconditionFailed),
    "cursor": (CursorInvalid,),
}


def openapi_of(app: FastAPI, tags: Mapping[str, str], **info: Any) -> dict[str, Any]:
    """OpenAPI 3.1 of an app's doors. `tags` describes each first word of a path; `info` as `get_openapi`
    takes it. Raises KeyError for a door without a tag."""
    document = get_openapi(
        routes=app.routes,
        tags=[{"name": name, "description": text} for name, text in tags.items()],
        **info,
    )
    said: set[type[AppError]] = set()
    for found in iter_route_contexts(app.routes):
        door = found.original_route
        if not isinstance(door, Door) or not found.include_in_schema:
            continue
        for method in found.methods or ():
            assert found.path is not None
            operation = document["paths"][found.path][method.lower()]
            errors = set(_errors_of(door, method, operation))
            _complete(operation, door, method, errors)
            operation["tags"] = [_tag_of(found.path, tags)]
            said |= errors
    components = document["components"]
    for unused in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(unused, None)
    _, problems = models_json_schema(
        [(Problem, "validation"), (ProblemField, "validation")],
        ref_template=_REF.format("schemas", "{model}"),
    )
    components["schemas"] |= problems["$defs"]
    components["examples"] = {
        error.code: _example(error) for error in sorted(said, key=lambda error: error.code)
    }
    components["parameters"] = _PARAMETERS
    components["securitySchemes"] = _SECURITY
    return document


def _tag_of(path: str, tags: Mapping[str, str]) -> str:
    name = path.removeprefix(_PREFIX).split("/")[0]
    if name not in tags:
        raise KeyError(f"{path} has no tag; describe {name!r}")
    return name


def _errors_of(door: Door, method: str, operation: Mapping[str, Any]) -> Errors:
    yield from _OF_EVERY_DOOR
    yield from door.raises
    parameters = operation.get("parameters", ())
    for parameter in parameters:
        yield from _OF_PARAMETERS.get(parameter["name"], ())
        if parameter["in"] == "path":
            yield NotFound
    if any(parameter["in"] == "query" or "format" in parameter["schema"] for parameter in parameters):
        yield Invalid
    if "requestBody" in operation:
        yield from _OF_A_BODY
    if door.conditions:
        yield from _OF_A_LOG_IN
        if method not in SAFE_METHODS:
            yield CsrfFailed
        if any(serves_operators(condition) for condition in door.conditions):
            yield NobodyServed


def _complete(operation: dict[str, Any], door: Door, method: str, errors: set[type[AppError]]) -> None:
    if "parameters" in operation:
        operation["parameters"] = [_parameter(one) for one in operation["parameters"]]
    operation["security"] = _security(door, method)
    operation["responses"] = {
        **{status: said for status, said in operation["responses"].items() if int(status) < 400},
        **_refusals(errors),
    }


def _parameter(parameter: dict[str, Any]) -> dict[str, Any]:
    # Whether they are there is looked at after the log-in, so for the framework they are optional.
    known = parameter["name"] in _PARAMETERS
    return {"$ref": _REF.format("parameters", parameter["name"])} if known else parameter


def _security(door: Door, method: str) -> list[dict[str, list[str]]]:
    if not door.conditions:
        return []
    by_cookie: dict[str, list[str]] = (
        {"session": []} if method in SAFE_METHODS else {"session": [], "csrf": []}
    )
    return [{"bearer": []}, by_cookie]


def _refusals(errors: set[type[AppError]]) -> dict[str, dict[str, Any]]:
    by_status: dict[int, list[type[AppError]]] = defaultdict(list)
    for error in sorted(errors, key=lambda error: error.code):
        by_status[error.status].append(error)
    return {
        str(status): {
            "description": "\n".join(f"- `{error.code}`: {error.title_en}" for error in same),
            "headers": _HEADERS.get(status, {}),
            "content": {
                MEDIA_TYPE: {
                    "schema": {"$ref": _REF.format("schemas", "Problem")},
                    "examples": {error.code: {"$ref": _REF.format("examples", error.code)} for error in same},
                }
            },
        }
        for status, same in sorted(by_status.items())
    }


def _example(error: type[AppError]) -> dict[str, Any]:
    value: dict[str, Any] = {
        "type": f"/problems/{error.code}",
        "title": error.title_en,
        "status": error.status,
        "code": error.code,
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    }
    if error.status == Invalid.status:
        field = {"pointer": "/form/ground", "code": "field.missing", "message": "this field is required"}
        value["errors"] = [field]
    return {"summary": error.title_en, "value": value}
