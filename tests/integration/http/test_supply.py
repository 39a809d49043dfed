"""What is missing is asked for once and supplied."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID, uuid4

import httpx
import pytest

from services.materials.uploads import MOST_UNTAKEN
from tests.support.hall import (
    A_JPEG,
    A_PDF,
    WITHOUT_LEASE,
    Hall,
    Headers,
    application,
    hidden_field,
    keyed,
    problem,
    session,
    stuck,
    untouched,
    upload,
)


def test_supplying_twice_before_anybody_looked_holds_nothing_up(hall: Hall) -> None:
    who, headers = hall.citizen(WITHOUT_LEASE)
    number = hall.apply(headers, application(who)).json()["number"]
    hall.installation.pump()
    path = f"/api/v1/cases/{number}/supplements"
    answers = []
    for _ in range(2):
        body = {"uploads": {"lease_contract": upload(hall, headers)}}
        answers.append(hall.client.post(path, headers=keyed(headers), json=body))
    assert answers[0].status_code == 202
    assert problem(answers[1]) == (409, "case.nothing-asked")
    hall.installation.pump()
    assert hall.case(headers, number)["state"] == "under_review"
    assert stuck(hall, number) == []


def test_of_two_missing_materials_one_is_not_enough_and_nobody_is_asked_again(hall: Hall) -> None:
    who, headers = hall.citizen(("id_card", "social_insurance_record"))
    number = hall.apply(headers, application(who)).json()["number"]
    hall.installation.pump()
    path = f"/api/v1/cases/{number}/supplements"

    def supply(code: str, content: bytes) -> httpx.Response:
        body = {"uploads": {code: upload(hall, headers, content)}}
        answer: httpx.Response = hall.client.post(path, headers=keyed(headers), json=body)
        hall.installation.pump()
        return answer

    told = hall.client.get("/api/v1/messages", headers=headers).json()["messages"]
    with_first = supply("photo", A_JPEG)
    assert (with_first.status_code, with_first.json()["supplied"]) == (202, ["photo"])
    case = hall.case(headers, number)
    assert case["state"] == "correction_required"
    assert hall.client.get("/api/v1/messages", headers=headers).json()["messages"] == told
    # What was not asked for, and a file of the wrong type, change nothing.
    with untouched(hall):
        sent = {"uploads": {"labour_contract": str(UUID(int=1))}}
        assert problem(hall.client.post(path, headers=keyed(headers), json=sent))[0] == 422
    assert problem(supply("labour_contract", A_PDF)) == (422, "case.material-not-asked")
    assert problem(supply("photo", A_PDF)) == (422, "case.upload-type-wrong")
    assert supply("lease_contract", A_PDF).status_code == 202
    case = hall.case(headers, number)
    assert case["state"] == "under_review"
    assert [entry["fact"] for entry in case["timeline"]].count("correction-required") == 1
    assert problem(supply("lease_contract", A_PDF)) == (409, "case.nothing-asked")


def test_a_gap_is_asked_for_once_and_supplied(fresh_hall: Hall) -> None:
    who, headers = fresh_hall.citizen(WITHOUT_LEASE)
    number = fresh_hall.apply(headers, application(who)).json()["number"]
    fresh_hall.installation.pump()
    case = fresh_hall.case(headers, number)
    assert [item["material"] for item in case["asked"]] == ["residence_proof"]
    once = {**headers, "Idempotency-Key": str(uuid4())}
    file = {"file": ("lease.pdf", A_PDF, "application/pdf")}
    upload = fresh_hall.client.post("/api/v1/uploads", headers=once, files=file).json()["id"]
    supply = {**headers, "Idempotency-Key": str(uuid4())}
    path = f"/api/v1/cases/{number}/supplements"
    answer = fresh_hall.client.post(path, headers=supply, json={"uploads": {"lease_contract": upload}})
    assert answer.status_code == 202
    fresh_hall.installation.pump()
    case = fresh_hall.case(headers, number)
    assert case["state"] == "under_review"
    assert sum(entry["fact"] == "correction-required" for entry in case["timeline"]) == 1


@pytest.mark.parametrize(("second", "status"), [(A_PDF, 303), (A_PDF + b"%", 409)], ids=["same", "other"])
def test_a_page_that_is_sent_twice_says_which_files_count(hall: Hall, second: bytes, status: int) -> None:
    who, headers = hall.citizen(WITHOUT_LEASE)
    number = hall.apply(headers, application(who)).json()["number"]
    hall.installation.pump()
    cookie, path = session(headers), f"/cases/{number}"
    page = hall.client.get(path, headers=cookie).text
    (key,) = set(re.findall(r'name="idempotency_key" value="([^"]+)"', page))
    form = {"csrf_token": hidden_field(hall, path, cookie), "idempotency_key": key}

    def send(content: bytes) -> httpx.Response:
        answer: httpx.Response = hall.client.post(
            f"{path}/supply",
            headers={**cookie, "Accept": "text/html"},
            data={**form, "as.residence_proof": "lease_contract"},
            files={"file.residence_proof": ("lease.pdf", content, "application/pdf")},
            follow_redirects=False,
        )
        return answer

    assert send(A_PDF).status_code == 303
    again = send(second)
    assert again.status_code == status, again.text
    assert (status == 303) is ("这次的文件没有采用" not in again.text)
    hall.installation.pump()
    kept = hall.installation.value("SELECT uploads FROM materials.cases WHERE number = :n", n=number)
    sizes = hall.installation.rows(
        "SELECT size FROM materials.uploads WHERE id = CAST(:u AS uuid)", u=kept["lease_contract"]
    )
    assert [row.size for row in sizes] == [len(A_PDF)]


@dataclass
class Page:
    """The page on which somebody brings all that a case asks for, in their browser."""

    hall: Hall
    headers: Headers
    number: str
    text: str = ""

    def look(self) -> None:
        cookie = {**session(self.headers), "Accept": "text/html"}
        self.text = self.hall.client.get(f"/cases/{self.number}", headers=cookie).text

    def send(self, files: Mapping[str, bytes], **changed: str) -> httpx.Response:
        """The form as it stands on the page, with these files chosen, by what was asked for."""
        fields = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]+)"', self.text))
        answer: httpx.Response = self.hall.client.post(
            f"/cases/{self.number}/supply",
            headers={**session(self.headers), "Accept": "text/html"},
            data={**fields, **self.chosen(), **changed},
            files={f"file.{asked}": (f"{asked}.pdf", content) for asked, content in files.items()}
            or {"none": ("", b"")},
            follow_redirects=False,
        )
        self.text = answer.text
        return answer

    def chosen(self) -> dict[str, str]:
        """The kinds that are chosen on the page, by field."""
        selects = re.findall(r'<select [^>]*name="([^"]+)"[^>]*>(.*?)</select>', self.text, re.DOTALL)
        picked = {name: re.findall(r'value="([^"]+)" selected', options) for name, options in selects}
        return {name: one[0] for name, one in picked.items() if one}

    def kept(self) -> dict[str, str]:
        """The uploads that the page keeps, by what was asked for."""
        return dict(re.findall(r'name="kept\.([^"]+)" value="([^"]+)"', self.text))

    def to_choose(self) -> set[str]:
        """For what a file must be chosen."""
        return set(re.findall(r'name="file\.([^"]+)" required', self.text))


ASKED = {"id_card": A_PDF, "photo": A_JPEG, "residence_proof": A_PDF, "ground_proof": A_PDF}
CONTRACT = {"as.residence_proof": "purchase_contract"}


@pytest.fixture
def bringing(hall: Hall) -> Page:
    """An applicant who agrees to nothing and brings everything."""
    who, headers = hall.citizen()
    home = {"address": "文三路 1 号", "kind": "owned", "since": "2024-03-01"}
    sent = application(who, fetch_consent=False, residence=home)
    number = hall.apply(headers, sent).json()["number"]
    hall.installation.pump()
    page = Page(hall, headers, number)
    page.look()
    assert page.to_choose() == ASKED.keys()
    return page


def done(page: Page) -> bool:
    page.hall.installation.pump()
    return bool(page.hall.case(page.headers, page.number)["state"] == "under_review")


@pytest.mark.parametrize("bad", [None, b"just some words"], ids=["missing", "a text"])
@pytest.mark.parametrize("where", ASKED)
def test_a_refused_page_keeps_what_is_right_and_asks_for_the_rest(
    bringing: Page, where: str, bad: bytes | None
) -> None:
    files = {asked: content for asked, content in ASKED.items() if asked != where}
    assert bringing.send(files if bad is None else {**files, where: bad}, **CONTRACT).status_code == 422
    assert bringing.kept().keys() == files.keys()
    assert bringing.to_choose() == {where}
    assert bringing.chosen() == CONTRACT
    assert {asked for asked in ASKED if f"<strong>{asked}.pdf</strong>" in bringing.text} == files.keys()
    assert "此前的登录已结束" not in bringing.text
    assert bringing.send({where: ASKED[where]}).status_code == 303
    assert done(bringing)


def test_a_bad_replacement_loses_nothing_that_was_kept(bringing: Page) -> None:
    bringing.send({asked: ASKED[asked] for asked in ("id_card", "photo", "residence_proof")}, **CONTRACT)
    before = bringing.kept()
    assert bringing.send({"id_card": b"just some words", "ground_proof": A_PDF}).status_code == 422
    after = bringing.kept()
    assert {asked: after[asked] for asked in before} == before
    assert after.keys() == ASKED.keys()
    assert (bringing.to_choose(), bringing.chosen()) == (set(), CONTRACT)
    assert bringing.send({}).status_code == 303
    assert done(bringing)


def test_a_file_that_its_kind_does_not_take_stands_there_with_what_is_wrong(bringing: Page) -> None:
    assert bringing.send({**ASKED, "photo": A_PDF}, **CONTRACT).status_code == 422
    assert re.findall(r'id="wrong-(\w+)-1"', bringing.text) == ["photo"]
    assert bringing.kept().keys() == ASKED.keys()
    assert bringing.send({"photo": A_JPEG}).status_code == 303
    assert done(bringing)


def test_a_kind_that_was_not_chosen_loses_no_file(bringing: Page) -> None:
    assert bringing.send(ASKED).status_code == 422
    assert re.findall(r'id="wrong-(\w+)-1"', bringing.text) == ["residence_proof"]
    assert bringing.kept().keys() == ASKED.keys()
    assert bringing.send({}, **CONTRACT).status_code == 303
    assert done(bringing)


def test_of_a_kept_file_that_is_not_ones_own_nothing_is_told(bringing: Page) -> None:
    _, others = bringing.hall.citizen()
    files = {asked: ASKED[asked] for asked in ASKED if asked != "id_card"}
    pages = []
    for name in (upload(bringing.hall, others), str(uuid4())):
        assert bringing.send(files, **CONTRACT, **{"kept.id_card": name}).status_code == 422
        assert bringing.kept().keys() == files.keys()
        assert bringing.to_choose() == {"id_card"}
        assert name not in bringing.text
        pages.append(re.sub(r'value="[^"]*"|\w{32}', "", bringing.text))
        bringing.look()
    assert pages[0] == pages[1]


def test_a_full_quota_loses_no_choice_and_keeps_no_more(bringing: Page) -> None:
    for _ in range(MOST_UNTAKEN - 1):
        upload(bringing.hall, bringing.headers)
    assert bringing.send(ASKED, **CONTRACT).status_code == 422
    assert len(bringing.kept()) == 1
    assert bringing.chosen() == CONTRACT
    assert "未使用的附件过多" in bringing.text
