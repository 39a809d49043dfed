"""The one who asks, as far as every service needs to know."""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID


class PrincipalKind(StrEnum):
    """What somebody may be to us.

    A citizen acts for themselves, also as somebody's agent; a clerk for an organisation; an officer decides;
    an operator files and looks for whoever stands before them or is on the phone; a client is a program that
    files through channels of its own; a service is one of this installation and never has a session.
    """

    CITIZEN = "citizen"
    CLERK = "clerk"
    OFFICER = "officer"
    OPERATOR = "operator"
    CLIENT = "client"
    SERVICE = "service"
    ANONYMOUS = "anonymous"


LOG_IN_KINDS = (
    PrincipalKind.CITIZEN,
    PrincipalKind.CLERK,
    PrincipalKind.OFFICER,
    PrincipalKind.OPERATOR,
    PrincipalKind.CLIENT,
)
"""Who may have a session."""


class Assurance(StrEnum):
    """How well we know that somebody is who they are said to be, the least first."""

    CLAIMED = "claimed"
    """Somebody said so, in a form."""
    REACHED = "reached"
    """A one-time code came back: they hold a phone or a mailbox, and no more."""
    VERIFIED = "verified"
    """An identity provider or a counter saw a proof."""

    @property
    def rank(self) -> int:
        """The higher, the better we know."""
        return tuple(Assurance).index(self)

    def covers(self, needed: "Assurance") -> bool:
        """Whether this is as good as what is needed."""
        return self.rank >= needed.rank


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. Raises ValueError for one that its kind does not allow, wherever it is made.

    `subject` is stable within its kind and is what audit lines name; `name` is shown on pages only, never
    logged. `person_ref` is the person behind it: it links officers to who they are, so that nobody decides a
    case of their own. `organisation` is the unified social credit code of a clerk's organisation,
    `acting_for` the person whom an operator serves.

    `departments` are those that an officer works for, `supervises` those whose tasks they may take from
    others and hand out, `channels` those through which an operator or a client files. These may change while
    a session lasts; `rights_version` says which are newer. `provider` and `assurance` say where we know
    somebody from and how well, `session` is the log-in that they came with.
    """

    kind: PrincipalKind
    subject: str
    person_ref: UUID | None = None
    departments: tuple[str, ...] = ()
    name: str = ""
    supervises: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    organisation: str | None = None
    acting_for: UUID | None = None
    rights_version: int = 0
    provider: str = ""
    assurance: Assurance = Assurance.VERIFIED
    session: UUID | None = None

    def __post_init__(self) -> None:
        wrong = self._wrong()
        if wrong:
            raise ValueError(f"no {self.kind} {wrong}")

    @property
    def party(self) -> UUID | None:
        """Whose affairs are looked after: a citizen's own, or those of whom an operator serves."""
        match self.kind:
            case PrincipalKind.CITIZEN:
                return self.person_ref
            case PrincipalKind.OPERATOR:
                return self.acting_for
            case _:
                return None

    @property
    def scope(self) -> str:
        """In whose name a request is known again when it comes twice: both identities of an operator. Two of
        different kinds may bear one subject."""
        own = f"{self.kind}/{self.subject}"
        return own if self.acting_for is None else f"{own}/{self.acting_for}"

    def works_for(self, department: str) -> bool:
        """Whether this is an officer of the department."""
        return self.kind is PrincipalKind.OFFICER and department in self.departments

    def sees(self, department: str) -> bool:
        """Whether this is an officer who works for the department or supervises it."""
        return self.works_for(department) or self.supervises_in(department)

    def supervises_in(self, department: str) -> bool:
        """Whether this is an officer who may hand out the department's tasks."""
        return self.kind is PrincipalKind.OFFICER and department in self.supervises

    def _wrong(self) -> str:
        kind = self.kind
        personal = (PrincipalKind.CITIZEN, PrincipalKind.CLERK)
        if kind in personal and self.person_ref is None:
            # Without one it would own every case that has no agent.
            return "without a person"
        if (kind is PrincipalKind.CLERK) != (self.organisation is not None):
            return "with or without an organisation"
        if self.acting_for is not None and kind is not PrincipalKind.OPERATOR:
            return "acts for somebody else"
        if (self.departments or self.supervises) and kind is not PrincipalKind.OFFICER:
            return "has departments"
        return ""


ANONYMOUS = Principal(PrincipalKind.ANONYMOUS, "anonymous")
