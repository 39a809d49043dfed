"""The one who asks, as far as every service needs to know."""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID


class PrincipalKind(StrEnum):
    """What somebody may be to us. A citizen's agent is a citizen."""

    CITIZEN = "citizen"
    OFFICER = "officer"
    ANONYMOUS = "anonymous"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks.

    `subject` is stable within the identity provider and is what audit lines name; `person_ref` is set for
    citizens once intake knows them; `departments` are the codes that an officer works for; `name` is shown
    on pages only, never logged.
    """

    kind: PrincipalKind
    subject: str
    person_ref: UUID | None = None
    departments: tuple[str, ...] = ()
    name: str = ""

    def works_for(self, department: str) -> bool:
        """Whether this is an officer of the department."""
        return self.kind is PrincipalKind.OFFICER and department in self.departments


ANONYMOUS = Principal(PrincipalKind.ANONYMOUS, "anonymous")
