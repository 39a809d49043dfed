"""What every fact has in common: its CloudEvents type, and the envelope around it."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, StringConstraints

from shared.events.view import Seen, ViewChange

_BY_TYPE: dict[str, type["Fact"]] = {}


Code = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:+-]+$", max_length=100)]
"""All the text that a fact may hold: codes of ours or of a matter file, where divisions and bodies may be
called by their numbers. No sentence fits into one, and no name as people write it."""


class UnknownFactType(LookupError):
    """An event type that this release has no class for; a newer speaker may have sent it."""


class Fact(BaseModel):
    """Base of all payloads. A fact carries no name, ID number, phone, address or free text.

    The CloudEvents type follows from module and class name: `CaseSubmitted` in `shared.events.intake`
    is `onestop.intake.case-submitted.v1`; a class `CaseSubmittedV2` would be `….case-submitted.v2`.

    A class says everything about its fact: how people read it and what they may see of it (`seen`, or None),
    and what it changes in their view of the case. Whoever shows cases needs to know no more than this.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    type: ClassVar[str]
    speaker: ClassVar[str]
    called: ClassVar[str]
    """`case-submitted` and the like, in whatever version."""
    version: ClassVar[int]
    seen: ClassVar[Seen | None]
    """How people see it; None when they do not."""
    harmless: ClassVar[bool] = False
    """An act that nobody is told of and nothing follows from: lost with a database, it is simply done
    anew."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        name, _, version = re.fullmatch(r"(.+?)(V(\d+))?", cls.__name__).groups()  # type: ignore[union-attr]
        cls.called = re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()
        cls.version = int(version or 1)
        cls.speaker = cls.__module__.rsplit(".", 1)[-1]
        cls.type = f"onestop.{cls.speaker}.{cls.called}.v{cls.version}"
        if cls.type in _BY_TYPE:
            raise TypeError(f"two fact classes for the type {cls.type}")
        _check_described(cls)
        _BY_TYPE[cls.type] = cls

    def changes(self) -> ViewChange:
        """What it changes in the citizen's view of its case; by itself, whatever else was said."""
        return {}

    def only_for(self) -> str | None:
        """The holder role that alone sees it; None when all do who see the case."""
        return None

    def details(self) -> dict[str, Any]:
        """What may be shown of it, as JSON."""
        shown = self.seen.shown if self.seen is not None else ()
        return {name: _plain(getattr(self, name)) for name in shown}


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


def fact_named(speaker: str, called: str) -> type[Fact] | None:
    """The newest class of a fact that was noted by its name; None for one that only a newer release knows."""
    found = [cls for cls in _BY_TYPE.values() if (cls.speaker, cls.called) == (speaker, called)]
    return max(found, key=lambda cls: cls.version, default=None)


def fact_classes() -> list[type[Fact]]:
    """All released payload classes, ordered by type."""
    return [_BY_TYPE[key] for key in sorted(_BY_TYPE)]


def seen_facts() -> list[type[Fact]]:
    """Those that people see, ordered by type."""
    return [cls for cls in fact_classes() if cls.seen is not None]


def speakers() -> list[str]:
    """All services that say facts."""
    return sorted({cls.speaker for cls in _BY_TYPE.values()})


def _check_described(cls: type[Fact]) -> None:
    if "seen" not in cls.__dict__:
        raise TypeError(f"{cls.__name__} says neither how people see it nor that they do not: seen = None")
    if cls.seen is None:
        if cls.changes is not Fact.changes:
            raise TypeError(f"{cls.__name__} changes what people see and is not seen itself")
        return
    missing = [name for name in cls.seen.shown if name not in cls.model_fields and not hasattr(cls, name)]
    if missing:
        raise TypeError(f"{cls.__name__} shows what it does not have: {', '.join(missing)}")


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
