"""How errors stand in the OpenAPI document."""

from typing import Any

from pydantic import BaseModel, Field

from shared.errors import AppError
from shared.http.problems import MEDIA_TYPE


class ProblemFieldDocument(BaseModel):
    """One wrong field."""

    pointer: str = Field(description="JSON pointer into the body, or query:name, path:name, header:name")
    code: str
    message: str


class ProblemDocument(BaseModel):
    """An error (RFC 9457)."""

    type: str = Field(description="relative URI of the page about this code")
    title: str
    status: int
    detail: str | None = None
    code: str = Field(description="stable; programs read this")
    errors: list[ProblemFieldDocument] | None = None
    trace_id: str


def problem_responses(*errors: type[AppError]) -> dict[int | str, dict[str, Any]]:
    """`responses=` of a route or router: which codes it answers with, grouped by status."""
    by_status: dict[int | str, list[type[AppError]]] = {}
    for error in errors:
        by_status.setdefault(error.status, []).append(error)
    schema = ProblemDocument.model_json_schema()
    return {
        status: {
            "description": "; ".join(f"`{error.code}` {error.title_en}" for error in same),
            "content": {MEDIA_TYPE: {"schema": schema}},
        }
        for status, same in by_status.items()
    }
