"""Whatever the document allows, and what it does not, is answered as the document says.

Schemathesis makes both up from the document alone, the same in every run; half of the time what it names is
there.
"""

import copy
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support.contract import document, operations
from tests.support.hall import Hall, application, upload
from tests.support.installation import MATTER

CASES = 200
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
OPERATIONS = [(method, path) for method, path, _ in operations()]


def without_log_in() -> dict[str, Any]:
    """The document for whoever need not make up tokens: those who knock here have real ones."""
    found = copy.deepcopy(document())
    for path in found["paths"].values():
        for operation in path.values():
            del operation["security"]
    del found["components"]["securitySchemes"]
    return found


MADE_UP = schemathesis.openapi.from_dict(without_log_in())


@pytest.fixture(scope="module")
def known(hall: Hall, open_task: str) -> dict[str, Any]:
    """Somebody, and what there is of theirs; an officer, and a task."""
    who, citizen = hall.citizen()
    return {
        "citizen": citizen,
        "officer": hall.officer("officer-1", supervises=["xihu-community"]),
        "number": hall.apply(citizen, application(who)).json()["number"],
        "upload_id": upload(hall, citizen),
        "task_id": open_task,
        "code": MATTER,
        "form": application(who)["form"],
    }


@pytest.mark.usefixtures("fresh_lookups")
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_answer_is_as_the_document_says(
    hall: Hall, known: Mapping[str, Any], method: str, path: str
) -> None:
    operation = MADE_UP[path][method]
    allowed, other = (
        operation.as_strategy(mode) for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    )
    log_in = known["officer" if path.startswith("/api/v1/tasks") else "citizen"]

    @settings(
        max_examples=CASES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=allowed | other, is_there=st.booleans())
    def knock(case: Case[Any], is_there: bool) -> None:
        if is_there:
            name_what_is_there(case, known)
        answer = hall.client.send(request_of(hall, case, log_in))
        case.validate_response(answer, checks=CHECKS)

    knock()


def name_what_is_there(case: Case[Any], known: Mapping[str, Any]) -> None:
    """Let a case be about a thing that exists."""
    for name in known.keys() & (case.path_parameters or {}).keys():
        case.path_parameters[name] = known[name]
    if "If-Match" in (case.headers or {}):
        case.headers["If-Match"] = "*"
    if isinstance(case.body, dict) and "matter" in case.body:
        case.body |= {"matter": MATTER, "version": 1, "form": known["form"]}


def request_of(hall: Hall, case: Case[Any], log_in: Mapping[str, str]) -> httpx.Request:
    """A case as it goes over the wire, by somebody who has logged in."""
    said = case.as_transport_kwargs(base_url="https://hall.test")
    said.pop("cookies", None)
    if isinstance(said.get("data"), bytes):
        said["content"] = said.pop("data")
    if "files" in said:
        # A value that is no text goes as the text that it looks like.
        said["files"] = [
            (name, (file, str(value) if isinstance(value, int | float) else value))
            for name, (file, value) in said["files"] or ()
        ]
    request: httpx.Request = hall.client.build_request(**{**said, "headers": {**said["headers"], **log_in}})
    request.read()
    return request
