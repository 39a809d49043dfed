"""A new application is matched with what the state holds: outcomes, gaps, a grant, and every look noted."""

from uuid import UUID, uuid4

from services.materials.commands import PURPOSE, READER, load_checklists, match_materials
from shared.events.materials import MaterialsMatched
from tests.support.commands import ASKED, event_of, handle, new_number, person_of, row, rows, said, submitted
from tests.support.installation import GAP, HELD, Installation


def match(made: Installation, applicant: UUID, **changed: object) -> str:
    number = new_number()
    event = event_of(submitted(applicant, **changed), number)
    handle(made, "materials", load_checklists, match_materials, event)
    return number


def only(made: Installation, number: str) -> MaterialsMatched:
    (fact,) = said(made, "materials", number)
    assert isinstance(fact, MaterialsMatched)
    return fact


def test_nothing_is_missing_of_whom_the_state_knows_all_about(made: Installation) -> None:
    applicant = person_of(made)
    number = match(made, applicant)
    fact = only(made, number)
    assert [(o.material, o.outcome, o.source) for o in fact.outcomes] == [
        (material, "matched", "certificate") for material in ASKED
    ]
    assert (fact.round, fact.gaps) == (1, [])
    certificates = {found.id for found in rows(made, "materials.certificates", holder=applicant)}
    outcomes = rows(made, "materials.match_outcomes", case_no=number)
    assert {found.certificate for found in outcomes} == certificates
    assert {found.round for found in outcomes} == {1}


def test_everything_missing_is_told_at_once(made: Installation) -> None:
    fact = only(made, match(made, person_of(made, ("id_card",))))
    assert fact.gaps == ["photo", "residence_proof", "ground_proof"]
    number = match(made, person_of(made, GAP))
    assert only(made, number).gaps == ["residence_proof"]
    assert row(made, "materials.cases", number=number).gaps == ["residence_proof"]


def test_every_look_leaves_a_use_under_the_grant_of_this_case(made: Installation) -> None:
    applicant = person_of(made)
    number = match(made, applicant)
    grant = row(made, "materials.use_grants", case_no=number)
    assert (grant.holder, grant.purpose) == (applicant, PURPOSE)
    uses = rows(made, "materials.use_records", case_no=number)
    assert len(uses) == len(HELD)
    assert {(use.grant, use.reader, use.purpose) for use in uses} == {(grant.id, READER, PURPOSE)}


def test_without_consent_nothing_is_looked_at(made: Installation) -> None:
    number = match(made, person_of(made), consents={})
    fact = only(made, number)
    assert {outcome.outcome for outcome in fact.outcomes} == {"needs_consent"}
    assert fact.gaps == ASKED
    assert rows(made, "materials.use_grants", case_no=number) == []
    assert rows(made, "materials.use_records", case_no=number) == []


def test_what_the_citizen_attached_counts_where_no_certificate_does(made: Installation) -> None:
    upload = uuid4()
    number = match(made, person_of(made, GAP), uploads={"lease_contract": upload})
    fact = only(made, number)
    assert {o.material: (o.outcome, o.source) for o in fact.outcomes}["residence_proof"] == (
        "self_provided",
        "upload",
    )
    found = row(made, "materials.match_outcomes", case_no=number, material="residence_proof")
    assert (found.upload, found.certificate, fact.gaps) == (upload, None, [])


def test_two_cases_of_one_batch_keep_their_people_apart(made: Installation) -> None:
    whole, none = person_of(made), person_of(made, ())
    first, second = event_of(submitted(whole), new_number()), event_of(submitted(none), new_number())
    handle(made, "materials", load_checklists, match_materials, first, second)
    assert only(made, first.case).gaps == []
    assert only(made, second.case).gaps == ASKED
