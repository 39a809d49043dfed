"""What the doors of intake answer."""

from typing import Literal

from shared.catalogue.terms import Names
from shared.events.view import CaseState
from shared.http.answers import Answer, CaseNumber, Moment, Next


class Receipt(Answer):
    """An application was taken."""

    number: CaseNumber
    query_code: str
    """With the number it finds the case without a log-in; it is said only here."""
    received_at: Moment


class Supplied(Answer):
    """What was asked for has come."""

    number: CaseNumber
    supplied: list[str]
    """Codes of materials."""


class ConsentMaterial(Answer):
    """A material that a certificate of the holder would meet."""

    material: str
    name_zh: str
    name_en: str


class ConsentLine(Answer):
    """A case that waits for one's consent."""

    number: CaseNumber
    matter: str
    matter_zh: str
    matter_en: str
    materials: list[ConsentMaterial]
    asked_at: Moment


class GivenConsentLine(ConsentLine):
    """A case for which one's own certificates may be read, or might, and by what that was agreed."""

    given_at: Moment
    basis: Literal["own", "proxy"]
    document: Literal["guardianship", "power_of_attorney"] | None
    """What a counter has seen of whoever agreed for one."""
    withdrawn_at: Moment | None
    state: Literal["stands", "withdrawn", "replaced", "over"]
    """It stands and can be taken back; was taken back and can be given again; was given again, which is a
    line of its own; or the case is decided, and nothing is read any more."""


class GivenConsentList(Answer):
    """A page of what one has agreed to, the newest first."""

    consents: list[GivenConsentLine]
    next: Next


class ConsentWithdrawn(Answer):
    """The holder's certificates are not read any more for the case."""

    number: CaseNumber
    withdrawn_at: Moment


class NoticesStopped(Answer):
    """Whoever got the code is told nothing more of it."""

    stopped: Literal["case", "everything"]


class ConsentGiven(Answer):
    """One's own certificates may be read for the case."""

    number: CaseNumber
    given_at: Moment


class CaseLine(Answer):
    """A case in a list."""

    number: CaseNumber
    matter: str
    matter_version: int
    matter_zh: str
    matter_en: str
    channel: str
    state: CaseState
    outcome: Literal["approved", "denied"] | None
    """How it was decided."""
    received_at: Moment
    decided_at: Moment | None
    closed_at: Moment | None


class CaseList(Answer):
    """A page of somebody's cases, the newest first."""

    cases: list[CaseLine]
    next: Next


class AskedMaterial(Answer):
    """Something that the citizen is to bring."""

    material: str
    name_zh: str
    name_en: str
    uploads: list[str]
    """The codes under which it may be brought: any one is enough."""


class CaseMaterial(Answer):
    """How a required material stands."""

    material: str
    outcome: Literal["matched", "self_provided", "needs_consent", "self_provide"]
    """Met by a certificate, by a file; waits for its holder's consent, for a file. By what it was met is told
    to its holder alone: to others it is `matched` without a source."""
    source: str | None
    name_zh: str
    name_en: str


class Stage(Answer):
    """One of the handful of stages that a case goes through."""

    stage: str
    step: str | None
    """The step of the matter, with its names, for a stage that is one."""
    name_zh: str | None
    name_en: str | None
    progress: Literal["done", "now", "next"]
    at: Moment | None


class TimelineEntry(Answer):
    """A fact about the case. What facts there are, the AsyncAPI document says."""

    at: Moment
    service: str
    fact: str
    details: dict[str, str | bool | int | list[str] | None]
    title_zh: str
    title_en: str
    text_zh: str | None
    """Its details in a sentence, where there are any."""
    text_en: str | None
    quiet: bool
    """One of many, which people look past."""


class Timeline(Answer):
    """A page of what happened in a case, the newest first."""

    timeline: list[TimelineEntry]
    next: Next


class Notification(Answer):
    """Somebody was told."""

    channel: str
    template: str
    status: str
    to: str
    """The role in the case of who was told."""


class Reasons(Answer):
    """What an officer wrote for the citizen."""

    step: str
    outcome: str
    at: Moment
    reason: str


class CaseRemedies(Answer):
    """What can be done against a refusal (行政复议法, 行政诉讼法)."""

    reconsideration_authority: Names
    reconsideration_days: int
    litigation_court: Names
    litigation_months: int
    zh: str
    en: str
    """The sentence that a refusal ends with."""


class Case(CaseLine):
    """A case as its citizen sees it."""

    accepted_at: Moment | None
    legal_due_at: Moment | None
    promised_due_at: Moment | None
    provisional: bool
    """Whether the due dates rest on a calendar that is not published yet."""
    visits: int
    """How often the citizen has had to come in person."""
    stage: str | None
    stage_zh: str | None
    stage_en: str | None
    department: str | None
    department_zh: str | None
    department_en: str | None
    asked: list[AskedMaterial]
    materials: list[CaseMaterial]
    awaiting_check: bool
    """Everything that was asked for has come and was not looked at yet."""
    stages: list[Stage]
    timeline: list[TimelineEntry]
    """Its newest 100 entries, the oldest of these first."""
    timeline_is_newest: bool
    timeline_next: Next
    notified: list[Notification]
    remedies: CaseRemedies | None
    reasons: list[Reasons]
    """Of a refusal."""


class ConsentList(Answer):
    """A page of what waits for one's consent, the oldest first."""

    consents: list[ConsentLine]
    next: Next
