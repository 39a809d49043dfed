"""The code lists and small values of a matter file, in the terms of GB/T 39046—2020."""

from collections.abc import Mapping
from datetime import date
from enum import StrEnum
from typing import Annotated, Any, Self, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    StringConstraints,
    WithJsonSchema,
)


class Part(BaseModel):
    """Base of everything in a matter file: unknown keys are errors, nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class EventKind(StrEnum):
    """事项类型, table A.1."""

    LICENCE = "01"
    PENALTY = "02"
    COERCION = "03"
    LEVY = "04"
    BENEFIT = "05"
    INSPECTION = "06"
    CONFIRMATION = "07"
    REWARD = "08"
    ADJUDICATION = "09"
    OTHER_POWER = "10"
    PUBLIC_SERVICE = "20"


class ExerciseLevel(StrEnum):
    """行使层级, table A.2."""

    STATE = "1"
    PROVINCE = "2"
    CITY = "3"
    COUNTY = "4"
    TOWN = "5"
    VILLAGE = "6"
    BY_LEVEL = "7"


class ApplicantKind(StrEnum):
    """服务对象, table A.4."""

    NATURAL_PERSON = "1"
    ENTERPRISE = "2"
    PUBLIC_INSTITUTION = "3"
    SOCIAL_ORGANISATION = "4"
    STATE_ORGAN = "5"
    OTHER = "6"


class FilingForm(StrEnum):
    """申报来源, table A.5."""

    WINDOW = "1"
    COMPUTER = "2"
    MOBILE = "3"
    COURIER = "4"
    OTHER = "9"


class ProjectType(StrEnum):
    """办件类型, table A.6: decided on the spot (即办件), or within a promised time (承诺件)."""

    INSTANT = "instant"
    PROMISED = "promised"


class TimeUnit(StrEnum):
    """办结时限单位."""

    WORKING_DAY = "working_day"
    NATURAL_DAY = "natural_day"
    HOUR = "hour"
    INSTANT = "instant"


class DayOff(StrEnum):
    """What becomes of a limit in natural days whose last day is one on which nobody works."""

    NEXT_WORKING_DAY = "next_working_day"
    """It ends on the next working day (民法典 art. 203)."""
    THAT_DAY = "that_day"
    """It ends on that day, since a rule of its own says so."""


class Necessity(StrEnum):
    """必要性: required, optional, or required but allowed to follow later (容缺后补)."""

    REQUIRED = "required"
    OPTIONAL = "optional"
    DEFERRABLE = "deferrable"


class AnotherWhileOpen(StrEnum):
    """Whether a second application may be made while the first is not decided: if its sender says that they
    mean it, or not at all."""

    BY_CHOICE = "by_choice"
    NEVER = "never"


class SourceKind(StrEnum):
    """来源渠道: fetched by data sharing, brought by the applicant, or fetched first, else brought."""

    SHARE = "share"
    SELF_PROVIDE = "self_provide"
    EITHER = "either"


class MediaType(StrEnum):
    """What an upload may be."""

    PDF = "application/pdf"
    JPEG = "image/jpeg"
    PNG = "image/png"


class SilencePolicy(StrEnum):
    """What silence at a step means. `consent` (超时默许) is for internal opinions only, never a decision."""

    NONE = "none"
    CONSENT = "consent"


class AgentGround(StrEnum):
    """Why somebody may act for the applicant."""

    UNDER_16 = "under_16"
    ELDERLY = "elderly"
    DISABLED = "disabled"
    ANYBODY = "anybody"


Code = Annotated[str, StringConstraints(strict=True, pattern=r"^[a-z][a-z0-9_]*$", max_length=60)]
"""A lower-case identifier of ours."""
Slug = Annotated[str, StringConstraints(strict=True, pattern=r"^[a-z0-9]+([.-][a-z0-9]+)*$", max_length=60)]
"""A lower-case name with dots and hyphens: events, templates, queues, departments."""
Text = Annotated[str, StringConstraints(strict=True, strip_whitespace=True, min_length=1, max_length=1000)]
Pointer = Annotated[str, StringConstraints(strict=True, pattern=r"^(/([^/~]|~[01])+)+$")]
"""A JSON Pointer (RFC 6901) into the form."""
Count = Annotated[StrictInt, Field(ge=0)]

Scalar: TypeAlias = str | int | float | bool | None
"""What a fact may be. Dates travel as ISO 8601 text."""


def _listed(value: Any) -> Any:
    if not isinstance(value, Mapping):
        raise ValueError("must name facts and the values that they must have")
    return {name: tuple(want) if isinstance(want, list | tuple) else (want,) for name, want in value.items()}


def _plain(value: dict[Any, tuple[Any, ...]]) -> dict[str, tuple[str | int | bool, ...]]:
    for name, wanted in value.items():
        if not isinstance(name, str):
            raise ValueError("must name facts and the values that they must have")
        if not wanted or not all(isinstance(one, str | int) for one in wanted):
            raise ValueError(
                f"'{name}' must be compared with a text, a whole number, true or false, or a list of them"
            )
    return value


Condition = Annotated[
    dict[Any, tuple[Any, ...]],
    BeforeValidator(_listed),
    AfterValidator(_plain),
    WithJsonSchema(
        {
            "type": "object",
            "additionalProperties": {
                "anyOf": [
                    {"type": ["string", "integer", "boolean"]},
                    {"type": "array", "minItems": 1, "items": {"type": ["string", "integer", "boolean"]}},
                ]
            },
        }
    ),
]
"""`{fact: value}` or `{fact: [value, value]}`: every named fact has one of its values. `{}` always holds."""


def holds(condition: Mapping[str, tuple[Any, ...]] | None, facts: Mapping[str, Scalar]) -> bool:
    """Whether the condition holds. A fact that is not there, or null, equals nothing."""
    return all(
        any(_same(facts.get(name), wanted) for wanted in values) for name, values in (condition or {}).items()
    )


def _same(fact: Scalar, wanted: Scalar) -> bool:
    # In Python True == 1; in a form they are different answers.
    return isinstance(fact, bool) == isinstance(wanted, bool) and fact is not None and fact == wanted


class Names(Part):
    """A text in both languages."""

    zh: Text
    en: Text

    def within(self, locale: str) -> str:
        """The text for a locale such as "zh-CN"; English for everything that is not Chinese."""
        return self.zh if locale.lower().startswith("zh") else self.en


class Limit(Part):
    """A time limit (时限)."""

    amount: Count
    """How many units; 0 for `instant` only."""
    unit: TimeUnit
    on_day_off: DayOff = DayOff.NEXT_WORKING_DAY
    """For natural days only."""
    basis: Text | None = None
    """The provision that sets it, and how it is counted."""

    @property
    def moves(self) -> bool:
        """Whether its end moves to the next working day."""
        return self.unit is TimeUnit.NATURAL_DAY and self.on_day_off is DayOff.NEXT_WORKING_DAY

    def surely_within(self, other: Self) -> bool:
        """Whether this limit ends no later than the other one, whatever the calendar looks like."""
        if self.unit is other.unit:
            return self.amount <= other.amount and (other.moves or not self.moves)
        if self.unit is TimeUnit.INSTANT:
            return True
        if (self.unit, other.unit) == (TimeUnit.NATURAL_DAY, TimeUnit.WORKING_DAY):
            return self.amount <= other.amount
        if self.unit is TimeUnit.HOUR and other.unit is not TimeUnit.INSTANT:
            return self.amount <= 24 * other.amount
        return False


def months_after(start: date, months: int) -> date:
    """The same day some months later; the last day of the month where it has no such day."""
    index = start.year * 12 + start.month - 1 + months
    year, month = divmod(index, 12)
    for day in (start.day, 30, 29, 28):
        try:
            return date(year, month + 1, day)
        except ValueError:
            continue
    raise AssertionError("every month has a 28th")
