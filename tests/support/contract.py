"""Answers against the OpenAPI document: whoever knocks at a door in a test also checks what it promises."""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import httpx
from jsonschema import Draft202012Validator

from deploy.generated import ROOT

_PROBLEM = "application/problem+json"


class NotAsPromised(AssertionError):
    """An answer is not what the document says of its operation."""


@cache
def document() -> dict[str, Any]:
    """The document that is checked in; another test compares it with the code."""
    found: dict[str, Any] = json.loads((ROOT / "docs" / "openapi.json").read_text(encoding="utf-8"))
    return found


def check_answer(answer: httpx.Response) -> None:
    """Raises NotAsPromised for an undeclared status, media type, header or code, and for a body that does not
    fit its schema. What is no operation of the document is let pass; so are pages, which browsers ask for.

    A hook of httpx: the request of the answer says which operation it was.
    """
    operation = _operation_of(answer.request.method, answer.request.url.path)
    kind = answer.headers.get("content-type", "").split(";")[0]
    if operation is None or kind == "text/html" or answer.status_code == 405:
        # A door of a provider that is off has no method here.
        return
    said = operation["responses"].get(str(answer.status_code))
    _must(said is not None, answer, f"status {answer.status_code} is not in the document")
    content = said.get("content", {})
    _must(kind in content, answer, f"media type {kind} is not in the document")
    for name, header in said.get("headers", {}).items():
        _must(name in answer.headers or not header.get("required"), answer, f"header {name} is missing")
    if kind.endswith("json"):
        answer.read()
        body = answer.json()
        wrong = [error.message for error in _validator(json.dumps(content[kind]["schema"])).iter_errors(body)]
        _must(not wrong, answer, "; ".join(wrong))
        if kind == _PROBLEM:
            _must(body["code"] in content[kind]["examples"], answer, f"{body['code']} is not in the document")


def _must(holds: bool, answer: httpx.Response, otherwise: str) -> None:
    if not holds:
        raise NotAsPromised(f"{answer.request.method} {answer.request.url.path}: {otherwise}")


def _operation_of(method: str, path: str) -> Mapping[str, Any] | None:
    for pattern, operations in _operations():
        if pattern.fullmatch(path):
            found: Mapping[str, Any] | None = operations.get(method.lower())
            return found
    return None


@cache
def _operations() -> list[tuple[re.Pattern[str], dict[str, Any]]]:
    """By their paths, those without a placeholder first."""
    paths = sorted(document()["paths"].items(), key=lambda item: "{" in item[0])
    return [(re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path))), found) for path, found in paths]


@cache
def _validator(schema: str) -> Draft202012Validator:
    return Draft202012Validator({**json.loads(schema), "components": document()["components"]})


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, path and operation, in order."""
    for path, found in sorted(document()["paths"].items()):
        for method, operation in sorted(found.items()):
            yield method.upper(), path, operation
