"""A holder agreed: from then on their certificates are looked at, under a grant."""

from datetime import timedelta
from uuid import UUID

from services.materials.commands import load_checklists, match_after_consent, match_materials
from shared.events.intake import ConsentBasis, ConsentGiven
from shared.events.materials import MaterialsMatched, MaterialsPartlyMatched
from tests.support.commands import (
    RECEIVED,
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


def consent(made: Installation, number: str, holder: UUID) -> None:
    given = ConsentGiven(holder=holder, roles=["applicant"], basis=ConsentBasis.OWN, given_at=LATER)
    handle(made, "materials", load_checklists, match_after_consent, event_of(given, number))


def unread(made: Installation, applicant: UUID) -> str:
    number = new_number()
    handle(
        made,
        "materials",
        load_checklists,
        match_materials,
        event_of(submitted(applicant, consents={}), number),
    )
    assert rows(made, "materials.use_records", case_no=number) == []
    assert rows(made, "materials.use_grants", case_no=number) == []
    return number


def test_what_was_missing_is_found(made: Installation) -> None:
    applicant = person_of(made)
    number = unread(made, applicant)
    consent(made, number, applicant)
    first, then = (fact for fact in said(made, "materials", number) if isinstance(fact, MaterialsMatched))
    assert {outcome.outcome for outcome in first.outcomes} == {"needs_consent"}
    assert (then.gaps, then.round, then.last_received_at) == ([], 2, LATER)
    assert {outcome.outcome for outcome in then.outcomes} == {"matched"}
    grant = row(made, "materials.use_grants", case_no=number)
    assert (grant.holder, grant.basis) == (applicant, "own")
    assert {use.grant for use in rows(made, "materials.use_records", case_no=number)} == {grant.id}
    assert len(rows(made, "materials.use_records", case_no=number)) == len(HELD)


def test_what_a_consent_met_is_told_while_something_is_still_missing(made: Installation) -> None:
    applicant = person_of(made, GAP)
    number = unread(made, applicant)
    consent(made, number, applicant)
    first, then = said(made, "materials", number)
    assert isinstance(first, MaterialsMatched)
    assert isinstance(then, MaterialsPartlyMatched), "so that nobody is asked a second time"
    assert (then.round, then.gaps) == (2, ["residence_proof"])
    told = {outcome.material: outcome.outcome for outcome in then.outcomes}
    assert told.pop("residence_proof") == "self_provide"
    assert set(told.values()) == {"matched"}
    assert rows(made, "materials.use_records", case_no=number) != []


def test_agreeing_again_looks_at_nothing_again(made: Installation) -> None:
    applicant = person_of(made)
    number = unread(made, applicant)
    for _ in range(2):
        consent(made, number, applicant)
    assert len(rows(made, "materials.use_grants", case_no=number)) == 1
    assert len(rows(made, "materials.use_records", case_no=number)) == len(HELD)
