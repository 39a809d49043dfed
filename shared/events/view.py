"""The citizen's view of a case, as a vocabulary of the contracts: how a fact reads, and what it changes.

Every speaker says it in these terms, beside its fact; whoever keeps the view knows no fact by its name.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from string import Formatter
from typing import Any, TypedDict


class CaseState(StrEnum):
    """How a case stands, for its citizen."""

    SUBMITTED = "submitted"
    CORRECTION_REQUIRED = "correction_required"
    ACCEPTED = "accepted"
    UNDER_REVIEW = "under_review"
    APPROVED = "approved"
    DENIED = "denied"


class ViewChange(TypedDict, total=False):
    """What a fact changes in the citizen's view of its case. What it does not name stays as it is.

    Each part is changed by the facts of one speaker only, which are heard in order: so the view is the same
    in whatever order the speakers are heard.
    """

    state: CaseState
    stage: str | None
    """The step that works on the case, by its code in the matter."""
    department: str | None
    materials: list[dict[str, Any]]
    """How each required material stands: material, outcome, source."""
    asked: list[str]
    """All materials that the citizen is asked for now. Nothing of them has come yet."""
    supplied: list[str]
    """More that has come of what is asked for."""
    consents: dict[str, str | None]
    """Holder roles whose consent is there now, and how it is proven; None where it is there no more."""
    outcome: str
    provisional: bool
    accepted_at: datetime
    legal_due_at: datetime
    promised_due_at: datetime
    decided_at: datetime
    closed_at: datetime


class As(StrEnum):
    """What a detail of a fact is, so that it can be said in words."""

    DAY = "day"
    """The civil day of a moment."""
    MATERIALS = "materials"
    """Codes of materials or one-of groups of the matter."""
    HOLDERS = "holders"
    """Holder roles of the matter."""
    STEP = "step"
    DEPARTMENT = "department"
    RESULT = "result"
    """The type of the certificate that the matter ends with."""
    CHANNEL = "channel"
    OUTCOME = "outcome"
    NOTICE = "notice"
    NOTICE_CHANNEL = "notice_channel"
    NOTICE_STATUS = "notice_status"


@dataclass(frozen=True, slots=True)
class Words:
    """A text in both languages. `{name}` stands for a detail, the same ones in both."""

    zh: str
    en: str

    def __post_init__(self) -> None:
        if not (self.zh.strip() and self.en.strip()):
            raise TypeError("words in both languages are needed")
        if _names(self.zh) != _names(self.en):
            raise TypeError(f"{self.zh!r} and {self.en!r} mention different details")

    @property
    def details(self) -> frozenset[str]:
        """The names of the details that it mentions."""
        return _names(self.zh)


@dataclass(frozen=True, slots=True)
class Seen:
    """How people see a fact in the timeline of their case, and in the API."""

    title: Words
    shown: Mapping[str, As] = field(default_factory=dict)
    """The details that leave the service, and what each is: fields or properties of the fact."""
    lines: tuple[Words, ...] = ()
    """Below the title stands the first of these whose details are all there, neither null nor empty."""
    quiet: bool = False
    """One of many, which people look past."""

    def __post_init__(self) -> None:
        if self.title.details:
            raise TypeError("a title stands in all cases and mentions no detail")
        hidden = {name for line in self.lines for name in line.details} - self.shown.keys()
        if hidden:
            raise TypeError(f"words mention details that are not shown: {', '.join(sorted(hidden))}")

    def line_for(self, details: Mapping[str, Any]) -> Words | None:
        """The line that can be said with these details."""
        there = {name for name, value in details.items() if value is not None and value not in ("", [])}
        return next((line for line in self.lines if line.details <= there), None)


def _names(text: str) -> frozenset[str]:
    return frozenset(name for _, name, _, _ in Formatter().parse(text) if name is not None)
