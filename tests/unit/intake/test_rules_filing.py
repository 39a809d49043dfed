"""Who may send in an application, by what they are."""

from uuid import UUID

import pytest

from services.intake.rules.filing import may_file
from shared.auth.principal import ANONYMOUS, LOG_IN_KINDS, Principal, PrincipalKind
from tests.support.principals import citizen, officer, operator

APPLICANT, AGENT, STRANGER = UUID(int=1), UUID(int=2), UUID(int=3)
CLERK = Principal(PrincipalKind.CLERK, "clerk", APPLICANT, organisation="91330106MA27XXXX0A")
KIOSK = Principal(PrincipalKind.CLIENT, "kiosk", channels=("kiosk",))

CASES = [
    (citizen(APPLICANT), "web", AGENT, True),
    (citizen(APPLICANT), "web", None, True),
    (citizen(AGENT), "web", AGENT, True),
    (citizen(STRANGER), "web", AGENT, False),
    (citizen(STRANGER), "web", None, False),
    (operator(APPLICANT, "counter"), "counter", None, True),
    (operator(AGENT, "counter"), "counter", AGENT, True),
    (operator(STRANGER, "counter"), "counter", None, False),
    (operator(APPLICANT, "counter"), "web", None, False),
    (operator(None, "counter"), "counter", None, False),
    (KIOSK, "kiosk", None, True),
    (KIOSK, "web", None, False),
    (CLERK, "web", None, False),
    (officer(person=APPLICANT), "web", None, False),
    (ANONYMOUS, "web", None, False),
]


@pytest.mark.parametrize(("who", "channel", "agent", "may"), CASES)
def test_who_may_file(who: Principal, channel: str, agent: UUID | None, may: bool) -> None:
    assert may_file(who, channel, APPLICANT, agent) is may


def test_every_kind_is_decided() -> None:
    assert {who.kind for who, *_ in CASES} >= set(LOG_IN_KINDS)


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": PrincipalKind.CITIZEN},
        {"kind": PrincipalKind.CLERK, "organisation": "91330106MA27XXXX0A"},
        {"kind": PrincipalKind.CLERK, "person_ref": APPLICANT},
        {"kind": PrincipalKind.CITIZEN, "person_ref": APPLICANT, "organisation": "91330106MA27XXXX0A"},
        {"kind": PrincipalKind.CITIZEN, "person_ref": APPLICANT, "acting_for": AGENT},
        {"kind": PrincipalKind.OFFICER, "acting_for": AGENT},
        {"kind": PrincipalKind.CLIENT, "departments": ("xihu-police",)},
        {"kind": PrincipalKind.OPERATOR, "supervises": ("xihu-police",)},
    ],
)
def test_what_no_kind_can_be_is_nowhere(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="no "):
        Principal(subject="x", **wrong)  # type: ignore[arg-type]
