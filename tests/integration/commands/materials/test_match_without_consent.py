"""A holder's consent is taken back: nothing of theirs is read from then on, and what their certificates met
is missing again; what others hold, and what was brought, stays."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from services.materials.commands import (
    Checklists,
    load_checklists,
    match_after_consent,
    match_again,
    match_materials,
    match_without_consent,
    order_certificate,
)
from shared.bus.inbox import NotYet
from shared.bus.unit import Unit
from shared.events.approval import CaseDecided, Decision
from shared.events.fact import Event, Fact
from shared.events.intake import (
    CaseSubmitted,
    ConsentBasis,
    ConsentGiven,
    ConsentWithdrawn,
    MaterialsSupplied,
    WithdrawnBy,
)
from shared.events.materials import MaterialsMatched
from tests.support.commands import (
    ASKED,
    RECEIVED,
    Command,
    event_of,
    handle,
    new_number,
    person_of,
    row,
    rows,
    said,
    submitted,
)
from tests.support.installation import GAP, HELD, Installation

LATER = RECEIVED + timedelta(days=1)
ACTED_FOR = {"ground": "employment", "residence_kind": "rented", "has_agent": True, "agent_ground": "elderly"}
COMMANDS: dict[type[Fact], Command] = {
    CaseSubmitted: match_materials,
    ConsentGiven: match_after_consent,
    ConsentWithdrawn: match_without_consent,
    MaterialsSupplied: match_again,
    CaseDecided: order_certificate,
}


def hear(made: Installation, *events: Event) -> None:
    """What the worker does with a batch."""

    def command(unit: Unit, event: Event, loaded: Checklists) -> None:
        COMMANDS[type(event.fact)](unit, event, loaded)

    handle(made, "materials", load_checklists, command, *events)


def withdrawn(holder: UUID, *roles: str) -> ConsentWithdrawn:
    return ConsentWithdrawn(
        holder=holder, roles=list(roles or ("applicant",)), by=WithdrawnBy.HOLDER, withdrawn_at=LATER
    )


def given(holder: UUID) -> ConsentGiven:
    return ConsentGiven(holder=holder, roles=["applicant"], basis=ConsentBasis.OWN, given_at=LATER)


def decided(round_: int | None, outcome: Decision = Decision.APPROVED) -> CaseDecided:
    return CaseDecided(outcome=outcome, decided_at=LATER, materials_round=round_)


def matched(made: Installation, number: str) -> list[MaterialsMatched]:
    return [fact for fact in said(made, "materials", number) if isinstance(fact, MaterialsMatched)]


def told(fact: MaterialsMatched) -> dict[str, str]:
    return {outcome.material: outcome.outcome for outcome in fact.outcomes}


def uses(made: Installation, number: str) -> int:
    return len(rows(made, "materials.use_records", case_no=number))


@pytest.fixture
def applicant(made: Installation) -> UUID:
    return person_of(made)


@pytest.fixture
def number(made: Installation, applicant: UUID) -> str:
    """A case of which every material was met by the applicant's certificates."""
    found = new_number()
    hear(made, event_of(submitted(applicant), found))
    assert uses(made, found) == len(HELD)
    return found


def test_what_was_met_waits_for_consent_again_and_nothing_is_read(
    made: Installation, number: str, applicant: UUID
) -> None:
    hear(made, event_of(withdrawn(applicant), number, 2))
    first, then = matched(made, number)
    assert (first.gaps, first.consent_withdrawn) == ([], False)
    assert (then.gaps, then.round, then.consent_withdrawn) == (ASKED, 2, True)
    assert set(told(then).values()) == {"needs_consent"}
    assert uses(made, number) == len(HELD), "what was read before stays on record, and no more is"
    (grant,) = rows(made, "materials.use_grants", case_no=number)
    (end,) = rows(made, "materials.grant_withdrawals", case_no=number)
    assert (end.grant, end.by, end.withdrawn_at) == (grant.id, "holder", LATER)


def test_withdrawing_again_changes_nothing(made: Installation, number: str, applicant: UUID) -> None:
    for sequence in (2, 3):
        hear(made, event_of(withdrawn(applicant), number, sequence))
    assert len(matched(made, number)) == 2
    assert len(rows(made, "materials.grant_withdrawals", case_no=number)) == 1


def test_in_one_batch_it_is_as_one_after_the_other(made: Installation, applicant: UUID) -> None:
    facts = (submitted(applicant), withdrawn(applicant), given(applicant), withdrawn(applicant))
    apart, together = new_number(), new_number()
    for sequence, fact in enumerate(facts, start=1):
        hear(made, event_of(fact, apart, sequence))
    hear(made, *(event_of(fact, together, sequence) for sequence, fact in enumerate(facts, start=1)))
    assert [(f.round, f.gaps, told(f)) for f in matched(made, apart)] == [
        (f.round, f.gaps, told(f)) for f in matched(made, together)
    ]
    one, other = (row(made, "materials.cases", number=number) for number in (apart, together))
    for part in ("consents", "gaps", "round", "withdrawals"):
        assert getattr(one, part) == getattr(other, part)
    assert (one.consents, one.gaps) == ({}, ASKED)


def test_given_again_is_another_grant(made: Installation, number: str, applicant: UUID) -> None:
    hear(made, event_of(withdrawn(applicant), number, 2))
    hear(made, event_of(given(applicant), number, 3))
    assert matched(made, number)[-1].gaps == []
    grants = {grant.id for grant in rows(made, "materials.use_grants", case_no=number)}
    assert len(grants) == 2
    assert {use.grant for use in rows(made, "materials.use_records", case_no=number)} == grants
    (end,) = rows(made, "materials.grant_withdrawals", case_no=number)
    assert end.grant in grants


def test_what_was_brought_and_what_others_hold_stays_and_is_not_read_again(made: Installation) -> None:
    applicant, agent, photo = person_of(made, GAP), person_of(made), uuid4()
    fact = submitted(
        applicant,
        holders={"applicant": applicant, "agent": agent},
        consents={"applicant": "own", "agent": "own"},
        facts=ACTED_FOR,
        uploads={"photo": photo},
    )
    found = new_number()
    hear(made, event_of(fact, found))
    before = uses(made, found)
    hear(made, event_of(withdrawn(applicant), found, 2))
    last = matched(made, found)[-1]
    assert told(last)["agent_id_card"] == "matched"
    assert told(last)["photo"] == "self_provided"
    assert told(last)["id_card"] == "needs_consent"
    assert uses(made, found) == before


def test_of_two_holders_only_who_withdraws_is_left_out(made: Installation) -> None:
    applicant, agent = person_of(made), person_of(made)
    fact = submitted(
        applicant,
        holders={"applicant": applicant, "agent": agent},
        consents={"applicant": "own", "agent": "own"},
        facts=ACTED_FOR,
    )
    found = new_number()
    hear(made, event_of(fact, found))
    hear(made, event_of(withdrawn(agent, "agent"), found, 2))
    last = matched(made, found)[-1]
    assert last.gaps == ["agent_id_card"]
    assert told(last)["agent_id_card"] == "needs_consent"
    assert row(made, "materials.cases", number=found).consents == {"applicant": "own"}


def test_what_was_met_in_part_is_missing_again(made: Installation) -> None:
    """They agreed while something was missing, and were told what that met; they withdraw, and all is as
    before, which is said too."""
    applicant, found = person_of(made, GAP), new_number()
    hear(made, event_of(submitted(applicant, consents={}), found))
    hear(made, event_of(given(applicant), found, 2))
    assert row(made, "materials.cases", number=found).gaps != ASKED
    hear(made, event_of(withdrawn(applicant), found, 3))
    assert row(made, "materials.cases", number=found).gaps == ASKED
    first, last = matched(made, found)
    assert (last.consent_withdrawn, last.gaps, told(last)) == (True, first.gaps, told(first))


def test_what_is_brought_instead_completes_the_case(made: Installation, number: str, applicant: UUID) -> None:
    hear(made, event_of(withdrawn(applicant), number, 2))
    brought = {code: uuid4() for code in ("id_card", "photo", "lease_contract", "labour_contract")}
    hear(made, event_of(MaterialsSupplied(uploads=brought, supplied_at=LATER), number, 3))
    last = matched(made, number)[-1]
    assert (last.gaps, set(told(last).values())) == ([], {"self_provided"})
    assert uses(made, number) == len(HELD)


@pytest.mark.parametrize("outcome", Decision)
def test_a_decided_case_stays_as_it_was_decided(
    made: Installation, number: str, applicant: UUID, outcome: Decision
) -> None:
    hear(made, event_of(decided(1, outcome), number))
    hear(made, event_of(withdrawn(applicant), number, 2))
    assert len(matched(made, number)) == 1
    case = row(made, "materials.cases", number=number)
    assert (case.round, case.gaps, case.consents) == (1, [], {})
    assert len(rows(made, "materials.grant_withdrawals", case_no=number)) == 1


def test_whichever_is_heard_first_what_counts_is_what_the_decision_rests_on(
    made: Installation, applicant: UUID
) -> None:
    """A withdrawal that crosses a decision on its way."""
    states, last = [], []
    for order in ((decided(1), withdrawn(applicant)), (withdrawn(applicant), decided(1))):
        found = new_number()
        hear(made, event_of(submitted(applicant), found))
        for fact in order:
            hear(made, event_of(fact, found, 2))
        case = row(made, "materials.cases", number=found)
        states.append((case.consents, case.gaps, case.round, case.withdrawals, case.last_round))
        last.append((matched(made, found)[-1].gaps, told(matched(made, found)[-1])))
        assert len(rows(made, "materials.jobs", case_no=found)) == 1
    assert states[0] == states[1]
    assert last[0] == last[1], "and so the citizen's view ends the same"


def test_a_decision_that_knew_of_the_withdrawal_is_of_it(
    made: Installation, number: str, applicant: UUID
) -> None:
    hear(made, event_of(withdrawn(applicant), number, 2), event_of(decided(2, Decision.DENIED), number))
    case = row(made, "materials.cases", number=number)
    assert (case.round, case.gaps) == (2, ASKED)
    assert len(matched(made, number)) == 2


def test_what_a_decision_knew_of_may_be_heard_after_it(
    made: Installation, number: str, applicant: UUID
) -> None:
    """As a service does that was brought back from an older copy."""
    hear(made, event_of(decided(3), number))
    hear(made, event_of(withdrawn(applicant), number, 2))
    hear(made, event_of(given(applicant), number, 3))
    hear(made, event_of(withdrawn(applicant), number, 4))
    assert [fact.round for fact in matched(made, number)] == [1, 2, 3]
    case = row(made, "materials.cases", number=number)
    assert (case.round, case.gaps, case.consents) == (3, [], {})


def test_nothing_is_read_for_a_decided_case(made: Installation, number: str, applicant: UUID) -> None:
    hear(made, event_of(withdrawn(applicant), number, 2))
    hear(made, event_of(decided(2, Decision.DENIED), number))
    before = uses(made, number)
    hear(made, event_of(given(applicant), number, 3))
    hear(made, event_of(MaterialsSupplied(uploads={"photo": uuid4()}, supplied_at=LATER), number, 4))
    assert (uses(made, number), len(matched(made, number))) == (before, 2)


def test_before_the_case_is_known_it_waits(made: Installation) -> None:
    with pytest.raises(NotYet):
        hear(made, event_of(withdrawn(uuid4()), new_number(), 2))
