"""What every fact has in common: its CloudEvents type, and the envelope around it."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict

_BY_TYPE: dict[str, type["Fact"]] = {}


class UnknownFactType(LookupError):
    """An event type that this release has no class for; a newer speaker may have sent it."""


class Fact(BaseModel):
    """Base of all payloads. A fact carries no name, ID number, phone, address or free text.

    The CloudEvents type follows from module and class name: `CaseSubmitted` in `shared.events.intake`
    is `onestop.intake.case-submitted.v1`; a class `CaseSubmittedV2` would be `….case-submitted.v2`.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    type: ClassVar[str]
    speaker: ClassVar[str]

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        name, _, version = re.fullmatch(r"(.+?)(V(\d+))?", cls.__name__).groups()  # type: ignore[union-attr]
        kebab = re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()
        cls.speaker = cls.__module__.rsplit(".", 1)[-1]
        cls.type = f"onestop.{cls.speaker}.{kebab}.v{version or 1}"
        if cls.type in _BY_TYPE:
            raise TypeError(f"two fact classes for the type {cls.type}")
        _BY_TYPE[cls.type] = cls


@dataclass(frozen=True, slots=True)
class Event:
    """One fact on its way: the CloudEvents attributes we use, and the typed payload.

    `sequence` counts the facts of one speaker about one case, from 1, without gaps.
    `time` is the moment of the fact on the legal clock; `case` is the CloudEvents subject. `follows` is the
    id of the speaker's fact before it about the case, None for the first: a fork of its history shows there.
    """

    id: UUID
    speaker: str
    type: str
    case: str
    sequence: int
    time: datetime
    fact: Fact
    causation: UUID | None = None
    correlation: UUID | None = None
    traceparent: str | None = None
    follows: UUID | None = None


def fact_class(type_: str) -> type[Fact]:
    """The payload class of a CloudEvents type. Raises UnknownFactType."""
    try:
        return _BY_TYPE[type_]
    except KeyError:
        raise UnknownFactType(type_) from None


def fact_classes() -> list[type[Fact]]:
    """All released payload classes, ordered by type."""
    return [_BY_TYPE[key] for key in sorted(_BY_TYPE)]


def speakers() -> list[str]:
    """All services that say facts."""
    return sorted({cls.speaker for cls in _BY_TYPE.values()})
