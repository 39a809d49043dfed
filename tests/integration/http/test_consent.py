"""Certificates are read with consent only, and every reading is on record."""

import re
from uuid import uuid4

from tests.support.agents import GRANNY, acted_for, born, under_review_by_agent
from tests.support.hall import (
    A_JPEG,
    A_PDF,
    NOWHERE,
    WITHOUT_LEASE,
    Hall,
    Headers,
    application,
    hidden_field,
    keyed,
    problem,
    same,
    session,
    untouched,
    upload,
)
from tests.support.installation import HELD, Citizen


def test_no_consent_no_reading(fresh_hall: Hall) -> None:
    who, headers = fresh_hall.citizen()
    number = fresh_hall.apply(headers, application(who, fetch_consent=False)).json()["number"]
    fresh_hall.installation.pump()
    assert fresh_hall.installation.value("SELECT count(*) FROM materials.use_records") == 0
    assert {m["outcome"] for m in fresh_hall.case(headers, number)["materials"]} == {"needs_consent"}


def test_every_certificate_read_leaves_a_grant_and_a_use(fresh_hall: Hall) -> None:
    who, headers = fresh_hall.citizen()
    number = fresh_hall.apply(headers, application(who)).json()["number"]
    fresh_hall.installation.pump()
    of_case = {"n": number}
    uses = fresh_hall.installation.rows(
        'SELECT "grant" FROM materials.use_records WHERE case_no = :n', **of_case
    )
    grants = fresh_hall.installation.rows("SELECT id FROM materials.use_grants WHERE case_no = :n", **of_case)
    assert len(uses) == len(HELD)
    assert {use.grant for use in uses} == {grant.id for grant in grants}


TOLD = ("correction-required", "materials-asked-again", "notice-sent")
DISABLED = tuple([*HELD, "disability_certificate"])


def acted_for_disabled(hall: Hall, holds: tuple[str, ...] | None) -> tuple[Citizen, Headers, Headers, str]:
    """An agent names somebody as disabled: who it is, both log-ins, and the case. With None the state has
    never heard of them before."""
    agent, agents = hall.citizen()
    if holds is None:
        who = Citizen("从未来过", born(1985, int(uuid4().int % 900) + 50), "13900000009")
    else:
        who = hall.installation.citizen(holds)
    named = {"name": who.name, "id_number": who.id_number, "phone": who.phone}
    sent = acted_for(named, agent, "disabled")
    number = hall.apply(agents, sent).json()["number"]
    hall.installation.pump()
    return who, agents, hall.log_in_as(who), number


def _without_ones_own(page: str) -> list[str]:
    """Without the name of whoever looks, the time, and what is new on each page."""
    own = r'<span class="os-header__who">.*?</span>|\d{2}:\d{2}|(?:value|datetime)="[^"]*"'
    return re.sub(own, "", page).splitlines()


def test_nobody_learns_what_a_stranger_holds(hall: Hall) -> None:
    """The same answers whether the one who is named holds all, nothing, or was never heard of."""
    seen = []
    for holds in (DISABLED, ("id_card",), None):
        _, agents, _, number = acted_for_disabled(hall, holds)
        case = hall.case(agents, number)
        page = hall.client.get(f"/cases/{number}", headers={**session(agents), "Accept": "text/html"}).text
        seen.append(
            (
                [(m["material"], m["outcome"], m["source"]) for m in case["materials"]],
                case["asked"],
                case["state"],
                [(line["service"], line["fact"], line["details"]) for line in case["timeline"]],
                case["notified"],
                _without_ones_own(page.replace(number, "")),
            )
        )
        applicant = hall.installation.value("SELECT applicant FROM intake.cases WHERE number = :n", n=number)
        read = hall.installation.value(
            "SELECT count(*) FROM materials.use_records u "
            "JOIN materials.certificates c ON c.id = u.certificate "
            "WHERE u.case_no = :n AND c.holder = :h",
            n=number,
            h=applicant,
        )
        assert read == 0
        assert (
            hall.installation.rows(
                "SELECT 1 FROM materials.use_grants WHERE case_no = :n AND holder = :h", n=number, h=applicant
            )
            == []
        )
    for other in seen[1:]:
        assert seen[0][:-1] == other[:-1]
        assert [a for a, b in zip(seen[0][-1], other[-1], strict=True) if a != b] == []
    outcomes = {material: outcome for material, outcome, _ in seen[0][0]}
    assert outcomes["disability_certificate"] == outcomes["id_card"] == "needs_consent"
    assert outcomes["agent_id_card"] == "matched", "whoever applies agrees for themselves"


def test_the_case_goes_on_when_its_holder_agrees(hall: Hall) -> None:
    _, agents, headers, number = acted_for_disabled(hall, DISABLED)
    (asked,) = hall.client.get("/api/v1/consents", headers=headers).json()["consents"]
    assert asked["number"] == number
    assert "disability_certificate" in {material["material"] for material in asked["materials"]}
    assert "agent_id_card" not in {material["material"] for material in asked["materials"]}
    for _ in range(2):
        assert hall.client.post(f"/api/v1/cases/{number}/consent", headers=headers).status_code == 200
    hall.installation.pump()
    case = hall.case(agents, number)
    assert case["state"] == "under_review", case["materials"]
    assert hall.client.get("/api/v1/consents", headers=headers).json()["consents"] == []
    holder = hall.installation.value("SELECT applicant FROM intake.cases WHERE number = :n", n=number)
    (grant,) = hall.installation.rows(
        "SELECT id, basis FROM materials.use_grants WHERE case_no = :n AND holder = :h", n=number, h=holder
    )
    assert grant.basis == "own"
    (record,) = hall.installation.rows(
        "SELECT * FROM intake.consents WHERE case_no = :n AND holder = :h", n=number, h=holder
    )
    assert (record.basis, record.recorded_by) == ("own", str(holder))
    assert record.given_at is not None
    # Nothing was asked twice.
    assert [line["fact"] for line in case["timeline"]].count("correction-required") == 1


def test_what_a_holder_lacks_is_brought_and_nobody_is_told_why(hall: Hall) -> None:
    _, agents, headers, number = acted_for_disabled(hall, (*WITHOUT_LEASE, "disability_certificate"))
    before = hall.case(agents, number)
    assert hall.client.post(f"/api/v1/cases/{number}/consent", headers=headers).status_code == 200
    hall.installation.pump()
    case = hall.case(agents, number)
    assert case["state"] == "correction_required"
    assert len(before["asked"]) > 1
    assert [one["material"] for one in case["asked"]] == ["residence_proof"], "only the rest is asked for"
    missing = {m["material"]: m["outcome"] for m in case["materials"] if m["material"] == "residence_proof"}
    assert missing == {"residence_proof": "self_provide"}
    assert "needs_consent" not in {m["outcome"] for m in case["materials"]}
    told = [[line["details"] for line in one["timeline"] if line["fact"] in TOLD] for one in (before, case)]
    assert told[0] == told[1], "nobody is told a second time"
    body = {"uploads": {"lease_contract": upload(hall, agents)}}
    done = hall.client.post(f"/api/v1/cases/{number}/supplements", headers=keyed(agents), json=body)
    assert done.status_code == 202
    hall.installation.pump()
    assert hall.case(agents, number)["state"] == "under_review"


def test_whoever_refuses_and_then_agrees_brings_only_the_rest(hall: Hall) -> None:
    who, headers = hall.citizen(WITHOUT_LEASE)
    number = hall.apply(headers, application(who, fetch_consent=False)).json()["number"]
    hall.installation.pump()
    cookie = {**session(headers), "Accept": "text/html"}
    assert len(re.findall(r'name="file\.', hall.client.get(f"/cases/{number}", headers=cookie).text)) == 4
    assert hall.client.post(f"/api/v1/cases/{number}/consent", headers=headers).status_code == 200
    hall.installation.pump()
    page = hall.client.get(f"/cases/{number}", headers=cookie).text
    assert re.findall(r'name="file\.(\w+)"', page) == ["residence_proof"]
    assert "等待持证人" not in page
    form = {
        "csrf_token": hidden_field(hall, f"/cases/{number}", session(headers)),
        "idempotency_key": str(uuid4()),
        "as.residence_proof": "lease_contract",
    }
    file = {"file.residence_proof": ("lease.pdf", A_PDF)}
    sent = hall.client.post(
        f"/cases/{number}/supply", headers=cookie, data=form, files=file, follow_redirects=False
    )
    assert sent.status_code == 303
    hall.installation.pump()
    assert hall.case(headers, number)["state"] == "under_review"


def test_a_consent_that_met_a_part_and_is_taken_back_meets_nothing(hall: Hall) -> None:
    _, agents, headers, number = acted_for_disabled(hall, (*WITHOUT_LEASE, "disability_certificate"))
    before = hall.case(agents, number)
    hall.client.post(f"/api/v1/cases/{number}/consent", headers=headers)
    hall.installation.pump()
    done = hall.client.post(f"/api/v1/cases/{number}/consent/withdrawal", headers=keyed(headers))
    assert done.status_code == 200
    hall.installation.pump()
    after = hall.case(agents, number)
    assert [after[part] for part in ("state", "asked", "materials")] == [
        before[part] for part in ("state", "asked", "materials")
    ]


def test_by_what_it_was_met_is_told_to_its_holder_alone(hall: Hall) -> None:
    """The same to an agent whether the state holds everything or nothing, and everything was brought."""
    _, some, holders, held = acted_for_disabled(hall, DISABLED)
    assert hall.client.post(f"/api/v1/cases/{held}/consent", headers=holders).status_code == 200
    _, others, _, brought = acted_for_disabled(hall, None)
    uploads = {
        ask["uploads"][0]: upload(hall, others, A_JPEG if ask["material"] == "photo" else A_PDF)
        for ask in hall.case(others, brought)["asked"]
    }
    sent = keyed(others)
    path = f"/api/v1/cases/{brought}/supplements"
    assert hall.client.post(path, headers=sent, json={"uploads": uploads}).status_code == 202
    hall.installation.pump()
    seen, pages = [], []
    for number, agents in ((held, some), (brought, others)):
        case = hall.case(agents, number)
        assert case["state"] == "under_review"
        seen.append({m["material"]: (m["outcome"], m["source"]) for m in case["materials"]})
        page = hall.client.get(f"/cases/{number}", headers={**session(agents), "Accept": "text/html"}).text
        pages.append(page.partition('id="materials-title"')[2].partition("</dl>")[0])
    assert seen[0] == seen[1]
    assert pages[0] == pages[1]
    assert seen[0].pop("agent_id_card") == ("matched", "certificate"), "their own"
    assert set(seen[0].values()) == {("matched", None)}
    own = hall.case(holders, held)["materials"]
    assert {m["source"] for m in own if m["material"] != "agent_id_card"} == {"certificate"}
    assert {m["source"] for m in own if m["material"] == "agent_id_card"} == {None}


def test_the_notice_and_the_page_say_that_a_consent_is_enough(hall: Hall) -> None:
    who, headers = hall.citizen()
    number = hall.apply(headers, application(who, fetch_consent=False)).json()["number"]
    hall.installation.pump()
    (told,) = (
        one
        for one in hall.client.get("/api/v1/messages", headers=headers).json()["messages"]
        if one["title"] == "请一次性补正材料"
    )
    assert "同意" in told["body"]
    cookie = {**session(headers), "Accept": "text/html"}
    banner = hall.client.get(f"/cases/{number}", headers=cookie).text.partition('id="act-title"')[2]
    assert f'href="/cases/{number}/consent"' in banner.partition("<form")[0]
    hall.client.post(f"/api/v1/cases/{number}/consent", headers=headers)
    hall.installation.pump()
    assert hall.case(headers, number)["state"] == "under_review"


def test_only_the_holder_agrees(hall: Hall) -> None:
    _, agents, holders, number = acted_for_disabled(hall, DISABLED)
    _, strangers = hall.citizen()
    with untouched(hall):
        own = hall.client.post(f"/api/v1/cases/{number}/consent", headers=agents)
        answers = [
            hall.client.post(f"/api/v1/cases/{name}/consent", headers=strangers) for name in (number, NOWHERE)
        ]
    assert own.status_code == 200, "whoever applied has given their own"
    for answer in answers:
        assert problem(answer) == (404, "case.not-found")
    same(*answers, but={number: NOWHERE})
    waiting = hall.client.get("/api/v1/consents", headers=holders).json()["consents"]
    assert [one["number"] for one in waiting] == [number]


def test_a_holder_agrees_on_the_page(hall: Hall) -> None:
    _, agents, headers, number = acted_for_disabled(hall, DISABLED)
    cookie = session(headers)
    page = hall.client.get("/cases", headers={**cookie, "Accept": "text/html"})
    assert number in page.text
    token = hidden_field(hall, "/cases", cookie)
    done = hall.client.post(
        f"/cases/{number}/consent", headers=cookie, data={"csrf_token": token}, follow_redirects=False
    )
    assert done.status_code == 303
    hall.installation.pump()
    assert hall.case(agents, number)["state"] == "under_review"


def test_agreeing_late_is_told(hall: Hall) -> None:
    """The agent brought everything meanwhile."""
    number, _ = under_review_by_agent(hall)
    applicant = hall.log_in_as(Citizen(GRANNY["name"], GRANNY["id_number"], GRANNY["phone"]))
    answer = hall.client.post(f"/api/v1/cases/{number}/consent", headers=applicant)
    assert problem(answer) == (409, "case.consent-not-needed")
    waiting = hall.client.get("/api/v1/consents", headers=applicant).json()["consents"]
    assert number not in {one["number"] for one in waiting}, "nor is it asked for any more"
