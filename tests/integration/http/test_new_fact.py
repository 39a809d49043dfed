"""A fact that is new: its class is all that is written, and people see it on page and API."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.events import fact as facts
from shared.events.fact import Fact
from shared.events.view import As, CaseState, Seen, ViewChange, Words
from tests.support.commands import RECEIVED, event_of
from tests.support.hall import Hall, application

DUE = datetime(2026, 12, 24, 4, 0, tzinfo=UTC)


@pytest.fixture
def extended(monkeypatch: pytest.MonkeyPatch) -> type[Fact]:
    """A fact that approval says in a release to come."""
    monkeypatch.setattr(facts, "_BY_TYPE", dict(facts._BY_TYPE))

    class CaseExtended(Fact):
        """The decision takes longer, for a reason that stays with approval."""

        __module__ = "shared.events.approval"
        seen = Seen(
            Words("延长办理期限", "Time limit extended"),
            shown={"until": As.DAY, "step": As.STEP},
            lines=(Words("{step}延至 {until}", "{step} is extended to {until}"),),
        )
        step: str
        until: datetime
        approved_by: str

        def changes(self) -> ViewChange:
            return {"promised_due_at": self.until, "state": CaseState.UNDER_REVIEW, "stage": self.step}

    return CaseExtended


def test_it_changes_the_view_and_is_read_in_both_languages(fresh_hall: Hall, extended: type[Fact]) -> None:
    who, headers = fresh_hall.citizen()
    number = fresh_hall.apply(headers, application(who)).json()["number"]
    said = extended.model_validate({"step": "verify", "until": DUE, "approved_by": "chief-7"})

    fresh_hall.installation.inbox("intake").receive([event_of(said, number)])

    case = fresh_hall.case(headers, number)
    assert (case["state"], case["stage"]) == ("under_review", "verify")
    assert datetime.fromisoformat(case["promised_due_at"]) == DUE
    (line,) = [line for line in case["timeline"] if line["fact"] == "case-extended"]
    assert line == {
        "at": RECEIVED.isoformat(),
        "service": "approval",
        "fact": "case-extended",
        "details": {"until": DUE.isoformat(), "step": "verify"},
        "title_zh": "延长办理期限",
        "title_en": "Time limit extended",
        "text_zh": "核查延至 2026年12月24日",
        "text_en": "Verification is extended to 24 December 2026",
        "quiet": False,
    }
    for language, words in (("zh-CN", "核查延至 2026年12月24日"), ("en", "Verification is extended to")):
        page = _page(fresh_hall, headers, number, language)
        assert words in page
        assert line["title_zh" if language == "zh-CN" else "title_en"] in page
        assert "chief-7" not in page
    whole = fresh_hall.client.get(f"/api/v1/cases/{number}/timeline", headers=headers)
    assert line in whole.json()["timeline"]
    assert "chief-7" not in whole.text


def test_its_place_in_the_timeline_hangs_on_nothing_but_its_moment(
    fresh_hall: Hall, extended: type[Fact]
) -> None:
    """Two speakers at one moment, heard one way and the other."""
    orders = []
    for first in (0, 1):
        who, headers = fresh_hall.citizen()
        number = fresh_hall.apply(headers, application(who)).json()["number"]
        said = [
            event_of(extended.model_validate({"step": "verify", "until": DUE, "approved_by": "x"}), number),
            event_of(_matched(), number),
        ]
        for event in (said[first], said[1 - first]):
            fresh_hall.installation.inbox("intake").receive([event])
        timeline = fresh_hall.case(headers, number)["timeline"]
        orders.append([line["fact"] for line in timeline if line["at"] == RECEIVED.isoformat()])
    assert orders[0] == orders[1] == ["case-extended", "materials-matched"]


def _matched() -> Fact:
    cls = facts.fact_class("onestop.materials.materials-matched.v1")
    body: dict[str, Any] = {"round": 1, "outcomes": [], "gaps": []}
    return cls.model_validate({**body, "matched_at": RECEIVED, "last_received_at": RECEIVED - timedelta(1)})


def _page(hall: Hall, headers: dict[str, str], number: str, language: str) -> str:
    accept = {"Accept": "text/html", "Accept-Language": language}
    answer = hall.client.get(f"/cases/{number}", headers={**headers, **accept})
    return str(answer.text)
