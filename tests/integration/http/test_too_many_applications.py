"""How often somebody applies, and about whom, is limited; what is open already is pointed out, to whoever may
know of it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml

from deploy.catalogue import publish_matters
from shared.bus.context import ServiceContext
from shared.catalogue.loader import BUILT_IN
from shared.sections import LimitSettings, Section
from tests.support.agents import acted_for, born
from tests.support.hall import Hall, Headers, app_of, application, as_named, problem, untouched
from tests.support.installation import MATTER, NO_LIMITS, Citizen

NEVER_TWICE = "test.never_twice"
_SERIALS = count(100)


@pytest.fixture(scope="module")
def never_twice(hall: Hall, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A matter in which nobody may have two applications at once."""
    written = yaml.safe_load((BUILT_IN / f"{MATTER}.yaml").read_text("utf-8"))
    written |= {"code": NEVER_TWICE, "another_while_open": "never"}
    path: Path = tmp_path_factory.mktemp("matters") / f"{NEVER_TWICE}.yaml"
    path.write_text(yaml.safe_dump(written, allow_unicode=True, sort_keys=False), "utf-8")
    publish_matters(hall.installation.settings, [path])
    return NEVER_TWICE


def intake_of(hall: Hall) -> ServiceContext:
    found: ServiceContext = app_of(hall).state.contexts["intake"]
    return found


def limit(hall: Hall, limits: Section) -> None:
    intake = intake_of(hall)
    intake.settings = intake.settings.model_copy(update={"limits": limits})


@pytest.fixture
def limited(hall: Hall) -> Iterator[Hall]:
    """The hall with the limits as they come."""
    limit(hall, LimitSettings())
    yield hall
    limit(hall, NO_LIMITS)


def elder() -> dict[str, str]:
    """Somebody of 60 or more of whom nobody has heard."""
    serial = next(_SERIALS)
    return {"name": "长者", "id_number": born(1949, serial), "phone": f"137{serial:08d}"}


def named(who: dict[str, str]) -> Citizen:
    return Citizen(who["name"], who["id_number"], who["phone"])


def apply_at_once(hall: Hall, headers: Headers, body: dict[str, Any], times: int) -> list[Any]:
    # Fewer than the sessions with the database: nobody is put off.
    with ThreadPoolExecutor(4) as together:
        return list(together.map(lambda _: hall.apply(headers, body), range(times)))


def without_choice(body: dict[str, Any]) -> dict[str, Any]:
    """As it is sent by whoever does not say that they mean another one."""
    return {name: value for name, value in body.items() if name != "another"}


def test_a_stranger_who_files_150_times_about_somebody_files_three(limited: Hall) -> None:
    victim = elder()
    agent, headers = limited.citizen()
    answers = apply_at_once(limited, headers, acted_for(victim, agent, "elderly"), 150)
    taken = [answer for answer in answers if answer.status_code == 201]
    assert len(taken) == LimitSettings().filings_for_another
    for refused in answers:
        if refused not in taken:
            assert problem(refused) == (429, "case.too-many-applications")
            assert 0 < int(refused.headers["retry-after"]) <= 24 * 3600
    kept = limited.installation.value(
        "SELECT count(*) FROM intake.cases WHERE applicant = "
        "(SELECT applicant FROM intake.cases WHERE number = :n)",
        n=taken[0].json()["number"],
    )
    assert kept == len(taken)
    # Whom it was about has done nothing, and applies as ever.
    own = limited.log_in_as(named(victim))
    assert limited.apply(own, application(named(victim))).status_code == 201


def test_what_is_refused_leaves_nothing(limited: Hall) -> None:
    agent, headers = limited.citizen()
    body = acted_for(elder(), agent, "elderly")
    for _ in range(3):
        assert limited.apply(headers, body).status_code == 201
    with untouched(limited):
        assert limited.apply(headers, body).status_code == 429


def test_many_strangers_together_do_not_flood_one_person(limited: Hall) -> None:
    limit(limited, LimitSettings(filings_about_one=4))
    victim = elder()
    statuses = []
    for _ in range(3):
        agent, headers = limited.citizen()
        statuses += [
            limited.apply(headers, acted_for(victim, agent, "elderly")).status_code for _ in range(2)
        ]
    assert statuses == [201] * 4 + [429] * 2


def test_nor_one_number_under_many_names(limited: Hall) -> None:
    agent, headers = limited.citizen()
    limit(limited, LimitSettings(filings_with_a_number=4))
    target = elder()["phone"]
    statuses = [
        limited.apply(headers, acted_for({**elder(), "phone": target}, agent, "elderly")).status_code
        for _ in range(5)
    ]
    assert statuses == [201] * 4 + [429]
    # Its holder is not kept from naming it.
    holder = Citizen("机主", elder()["id_number"], target)
    assert limited.apply(limited.log_in_as(holder), application(holder)).status_code == 201


def test_one_s_own_applications_are_limited_by_matter_and_altogether(limited: Hall) -> None:
    limit(limited, LimitSettings(filings_by_citizen=3, filings_in_a_matter=2))
    who, headers = limited.citizen()
    bodies = [application(who)] * 3 + [{**application(who), "matter": "test.no_agents"}] * 2
    assert [limited.apply(headers, body).status_code for body in bodies] == [201, 201, 429, 201, 429]


def test_a_program_has_a_limit_of_its_own(limited: Hall) -> None:
    limit(limited, LimitSettings(filings_by_program=2))
    headers = limited.log_in("client", subject=f"program-{uuid4()}", channels=["app"])
    people = [limited.installation.citizen() for _ in range(3)]
    bodies = [{**application(who), "channel": "app"} for who in people]
    assert [limited.apply(headers, body).status_code for body in bodies] == [201, 201, 429]


def test_the_same_request_again_is_answered_as_before(limited: Hall) -> None:
    limit(limited, LimitSettings(filings_by_citizen=1))
    who, headers = limited.citizen()
    key = str(uuid4())
    answers = [limited.apply(headers, without_choice(application(who)), key) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [201] * 3
    assert len({answer.json()["number"] for answer in answers}) == 1


def test_it_is_counted_where_every_process_sees_it_and_anew_the_next_day(limited: Hall) -> None:
    limit(limited, LimitSettings(filings_by_citizen=1))
    who, headers = limited.citizen()
    assert limited.apply(headers, application(who)).status_code == 201
    assert limited.apply(headers, application(who)).status_code == 429
    limited.installation.change("UPDATE intake.day_counts SET day = day - 1")
    assert limited.apply(headers, application(who)).status_code == 201


def test_an_open_application_is_pointed_out_and_a_second_one_is_made_by_choice(hall: Hall) -> None:
    who, headers = hall.citizen()
    body = without_choice(application(who))
    number = hall.apply(headers, body).json()["number"]
    with untouched(hall):
        answer = hall.apply(headers, body)
    assert problem(answer) == (409, "case.identical-open")
    assert answer.json()["case"] == number
    assert number in answer.json()["detail"]
    assert hall.client.get(f"/api/v1/cases/{number}", headers=headers).status_code == 200
    assert hall.apply(headers, {**body, "another": True}).status_code == 201


def test_two_at_once_are_one(hall: Hall) -> None:
    who, headers = hall.citizen()
    answers = apply_at_once(hall, headers, without_choice(application(who)), 4)
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]


def test_another_matter_or_a_decided_case_is_no_obstacle(hall: Hall) -> None:
    who, headers = hall.citizen()
    body = without_choice(application(who))
    first = hall.apply(headers, body).json()["number"]
    assert hall.apply(headers, {**body, "matter": "test.no_agents"}).status_code == 201
    hall.installation.pump()
    hall.installation.decide(first)
    hall.installation.pump()
    assert hall.apply(headers, body).status_code == 201


def test_an_agent_is_told_of_their_own_application_and_of_nobody_else_s(hall: Hall) -> None:
    """Whether somebody else has applied for this person is not for them to know: theirs is taken."""
    applicant = elder()
    own = hall.log_in_as(named(applicant))
    assert hall.apply(own, without_choice(application(named(applicant)))).status_code == 201
    agents = [hall.citizen() for _ in range(2)]
    for agent, headers in agents:
        body = without_choice(acted_for(applicant, agent, "elderly"))
        taken = hall.apply(headers, body)
        assert taken.status_code == 201
        again = hall.apply(headers, body)
        assert (again.status_code, again.json()["case"]) == (409, taken.json()["number"])
    # Whose affairs they are sees all of them.
    assert hall.apply(own, without_choice(application(named(applicant)))).status_code == 409


def test_where_a_matter_allows_no_second_one_no_choice_makes_it(hall: Hall, never_twice: str) -> None:
    who, headers = hall.citizen()
    body = {**application(who), "matter": never_twice}
    assert hall.apply(headers, body).status_code == 201
    answer = hall.apply(headers, body)
    assert problem(answer) == (409, "case.identical-open")
    assert "another" not in answer.json()["detail"]


def test_an_operator_is_told_of_the_case_of_whom_they_serve(hall: Hall) -> None:
    who, own = hall.citizen()
    number = hall.apply(own, application(who)).json()["number"]
    operator = hall.log_in("operator", subject="operator-7", channels=["counter"], acting_for=as_named(who))
    sent = {**without_choice(application(who)), "channel": "counter"}
    assert hall.apply(operator, sent).json()["case"] == number
