"""What all answers of the API have in common."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema


def _open(schema: dict[str, Any]) -> None:
    # What clients read is to ignore members that it does not know: a later version may say more.
    schema.pop("additionalProperties", None)


class Answer(BaseModel):
    """Base of every answer's schema: what a door says besides it is a fault of ours, found by the tests.

    Moments and ids are texts already where these are checked: nothing is converted on the way out.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, json_schema_extra=_open
    )


Moment = Annotated[
    str, WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-11-23T09:00:00+08:00"]})
]
Id = Annotated[
    str,
    WithJsonSchema(
        {"type": "string", "format": "uuid", "examples": ["01990a8e-5d2c-7a41-9c1b-0d6a4f3e2b10"]}
    ),
]
CaseNumber = Annotated[str, Field(examples=["330106261123000017"], max_length=50)]
Next = Annotated[str | None, Field(description="the cursor of the next page; null at the end")]


class ProblemField(Answer):
    """One wrong part of a request."""

    pointer: Annotated[str, Field(examples=["/form/applicant/id_number"])]
    """A JSON pointer into the body; `query:name`, `path:name` or `header:name` for the rest."""
    code: Annotated[str, Field(examples=["id-number.check-digit"])]
    message: str


class Problem(Answer):
    """Why a request was refused (RFC 9457), in the language of Accept-Language.

    `code` is stable; a client that does not know it goes by `status`. Some codes bring further members.
    """

    type: Annotated[str, Field(examples=["/problems/case.not-found"])]
    """A page that explains the code."""
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    detail: str = ""
    """What happened this time, and what to do about it."""
    code: Annotated[str, Field(examples=["case.not-found"])]
    errors: list[ProblemField] = []
    trace_id: str
    """What our operators find the request by."""
