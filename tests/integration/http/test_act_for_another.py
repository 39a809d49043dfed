"""Whoever brings an application for somebody else: for whom, and what of it concerns whom."""

from uuid import uuid4

import pytest

from shared.peers import peer_token
from shared.privacy.secret_files import SERVICE_TOKEN, load_secret
from tests.support.agents import (
    GRANNY,
    GROWN_UP,
    NO_AGENTS,
    OTHER_ROLE,
    acted_for,
    born,
    under_review_by_agent,
)
from tests.support.hall import Hall, Headers, application, bearer, problem, untouched
from tests.support.installation import MATTER, Citizen


@pytest.mark.parametrize("matter", [MATTER, OTHER_ROLE])
def test_an_agent_applies_follows_and_supplies(hall: Hall, matter: str) -> None:
    number, headers = under_review_by_agent(hall, matter)
    own = hall.client.get("/api/v1/cases", headers=headers).json()["cases"]
    assert number in {case["number"] for case in own}
    # The applicant sees it too.
    granny = hall.client.post("/dev/tokens/citizen", json=GRANNY).json()["token"]
    assert hall.case(bearer(granny), number)["number"] == number


@pytest.mark.parametrize(
    ("applicant", "ground", "matter", "status", "code"),
    [
        # A healthy adult; an adult who is said to be a child or old.
        (GROWN_UP, "elderly", MATTER, 422, "case.agent-not-allowed"),
        (GROWN_UP, "under_16", MATTER, 422, "case.agent-not-allowed"),
        (GROWN_UP, "elderly", OTHER_ROLE, 422, "case.agent-not-allowed"),
        # Nobody may act here, so whoever else the form names is no reason to let them apply.
        (GRANNY, "elderly", NO_AGENTS, 403, "case.not-yours-to-file"),
    ],
)
def test_nobody_acts_for_whom_the_matter_does_not_say(
    hall: Hall,
    anybody: tuple[Citizen, Headers],
    applicant: dict[str, str],
    ground: str,
    matter: str,
    status: int,
    code: str,
) -> None:
    agent, headers = anybody
    with untouched(hall):
        assert problem(hall.apply(headers, acted_for(applicant, agent, ground, matter))) == (status, code)


def test_nobody_applies_for_others_without_being_named(hall: Hall) -> None:
    _, headers = hall.citizen()
    other, _ = hall.citizen()
    with untouched(hall):
        assert problem(hall.apply(headers, application(other))) == (403, "case.not-yours-to-file")
        third = hall.installation.people + 1_000
        named = acted_for(GRANNY, Citizen("第三人", born(1970, third % 1000), "13800000003"), "elderly")
        assert problem(hall.apply(headers, named)) == (403, "case.not-yours-to-file")


def test_whoever_names_somebody_does_not_change_how_they_are_reached(hall: Hall) -> None:
    """Who knows an ID number could otherwise have somebody else's notices sent to themselves."""
    victim, headers = hall.citizen()
    number = hall.apply(headers, application(victim)).json()["number"]
    person = str(hall.installation.value("SELECT applicant FROM intake.cases WHERE number = :n", n=number))
    old = Citizen("老者", born(1951, 99), "13812345678")
    body = {"name": old.name, "id_number": old.id_number, "phone": old.phone}
    attacker = bearer(hall.client.post("/dev/tokens/citizen", json=body).json()["token"])
    named = acted_for(body, Citizen(victim.name, victim.id_number, "13899999999"), "elderly")
    assert hall.apply(attacker, named).status_code == 201
    token = load_secret(hall.installation.settings, "notify", SERVICE_TOKEN)
    service = bearer(peer_token(token, "intake"))
    asked = {"person": person, "kind": "phone", "case": number, "purpose": "test"}
    asked |= {"delivery": str(uuid4()), "sent": False}
    answer = hall.internal.post("/internal/v1/intake/contact", headers=service, json=asked)
    assert answer.json()["contact"] == victim.phone
