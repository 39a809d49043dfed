"""A fact says beside its class how people read it, what they may see of it and what it changes for them."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.services import SERVICES, part
from services.intake.models import Case, TimelineEntry
from services.intake.rules.changes import ADDED, changed
from services.intake.view import timeline_line
from shared.bus.handlers import handlers_of
from shared.bus.wire import from_json
from shared.catalogue.loader import BUILT_IN, load_matter
from shared.events import fact as facts
from shared.events.approval import StepPassed
from shared.events.fact import Event, Fact, fact_classes, seen_facts
from shared.events.intake import CaseSubmitted
from shared.events.view import As, CaseState, Seen, ViewChange, Words
from tests.contract.test_events import golden

FACTS = fact_classes()
MATTER = load_matter(BUILT_IN / "residence_permit.apply.yaml")
BLANK: Mapping[str, Any] = {part: None for part in get_type_hints(ViewChange)} | {
    "supplied": [],
    "consents": {},
}
"""A view of which nothing is known yet."""


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fact classes that a test makes up are gone when it ends."""
    monkeypatch.setattr(facts, "_BY_TYPE", dict(facts._BY_TYPE))


def made_up(**body: Any) -> type[Fact]:
    """A class `Weighed` of materials with one number that is shown by nobody."""
    inside = {"__module__": "shared.events.materials", "__annotations__": {"grams": int}}
    return type("Weighed", (Fact,), inside | body)


@pytest.mark.usefixtures("forgetful")
def test_a_fact_says_how_people_see_it_or_that_they_do_not() -> None:
    with pytest.raises(TypeError, match="neither how people see it nor that they do not"):
        made_up()
    assert made_up(seen=None).model_validate({"grams": 1}).details() == {}


@pytest.mark.usefixtures("forgetful")
def test_what_nobody_sees_changes_nothing_that_people_see() -> None:
    with pytest.raises(TypeError, match="is not seen itself"):
        made_up(seen=None, changes=lambda self: {"provisional": True})


@pytest.mark.usefixtures("forgetful")
def test_what_is_shown_is_there() -> None:
    with pytest.raises(TypeError, match="shows what it does not have: ounces"):
        made_up(seen=Seen(Words("称重", "Weighed"), shown={"ounces": As.DAY}))


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (lambda: Words("", "Weighed"), "both languages"),
        (lambda: Words("称重", " "), "both languages"),
        (lambda: Words("{grams} 克", "so many grams"), "different details"),
        (lambda: Seen(Words("称重", "Weighed"), lines=(Words("{grams}", "{grams}"),)), "not shown: grams"),
        (lambda: Seen(Words("{grams}", "{grams}"), shown={"grams": As.DAY}), "mentions no detail"),
    ],
)
def test_words_stand_in_both_languages_and_mention_nothing_hidden(words: Callable[[], Any], why: str) -> None:
    with pytest.raises(TypeError, match=why):
        words()


@pytest.mark.parametrize("cls", FACTS, ids=lambda cls: cls.type)
def test_only_what_is_shown_leaves_a_fact(cls: type[Fact]) -> None:
    event = from_json(golden(cls.type))
    shown: Mapping[str, As] = cls.seen.shown if cls.seen is not None else {}
    details: Mapping[str, Any] = event.fact.details()
    assert details.keys() == shown.keys()
    for name, value in details.items():
        parts = value if isinstance(value, list) else [value]
        assert all(isinstance(part, str) for part in parts), f"{name} is neither a code nor a date"
        assert (shown[name] is As.DAY) == isinstance(getattr(event.fact, name), datetime)


@pytest.mark.parametrize("cls", seen_facts(), ids=lambda cls: cls.type)
def test_what_was_noted_and_is_not_shown_reaches_no_page_and_no_api(cls: type[Fact]) -> None:
    event = from_json(golden(cls.type))
    secret = "not-for-anybody"
    line = timeline_line(noted(event, details={**event.fact.details(), "hidden": secret}), MATTER)
    assert secret not in str(line)
    assert line["details"] == event.fact.details()
    assert "{" not in line["title_zh"] + line["title_en"] + (line["text_zh"] or "") + (line["text_en"] or "")


def test_what_only_a_newer_release_knows_is_shown_by_its_bare_name() -> None:
    event = from_json(golden("onestop.approval.case-closed.v1"))
    entry = noted(event, fact="case-weighed", details={"grams": 7})
    line = timeline_line(entry, MATTER)
    assert (line["title_zh"], line["title_en"]) == ("case-weighed", "case-weighed")
    assert (line["details"], line["text_zh"], line["text_en"]) == ({}, None, None)


def test_a_line_is_said_only_when_its_details_are_there() -> None:
    matched = from_json(golden("onestop.materials.materials-matched.v1"))
    noticed: list[dict[str, Any]] = [{"gaps": ["photo", "residence_proof"]}, {"gaps": []}, {}]
    texts = [timeline_line(noted(matched, details=details), MATTER)["text_en"] for details in noticed]
    names = [MATTER.names_of_requirement(code).en for code in ("photo", "residence_proof")]
    assert texts == [f"Missing: {', '.join(names)}", "Nothing is missing", "Nothing is missing"]


@pytest.mark.parametrize("kind", As)
def test_every_kind_of_detail_reads_in_both_languages_and_unknown_codes_as_they_are(kind: As) -> None:
    assert MATTER.result is not None
    codes = {
        As.DAY: "2026-11-30T15:59:59+00:00",
        As.MATERIALS: "photo",
        As.HOLDERS: "applicant",
        As.STEP: "verify",
        As.DEPARTMENT: "xihu-police",
        As.RESULT: MATTER.result.certificate_type,
        As.CHANNEL: "web",
        As.OUTCOME: "denied",
        As.NOTICE: "case-accepted",
        As.NOTICE_CHANNEL: "sms",
        As.NOTICE_STATUS: "in_doubt",
    }
    seen = Seen(Words("-", "-"), shown={"step": kind}, lines=(Words("{step}", "{step}"),))
    event = from_json(golden(StepPassed.type))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StepPassed, "seen", seen)
        line = timeline_line(noted(event, details={"step": codes[kind]}), MATTER)
        assert codes[kind] not in (line["text_zh"], line["text_en"])
        assert line["text_zh"] != line["text_en"]
        if kind is not As.DAY:
            unknown = timeline_line(noted(event, details={"step": "of-tomorrow"}), MATTER)
            assert unknown["text_zh"] == unknown["text_en"] == "of-tomorrow"


def test_the_view_is_what_the_vocabulary_says() -> None:
    columns = {column.name: column for column in Case.__table__.columns}
    for name, kind in get_type_hints(ViewChange).items():
        assert name in columns, f"intake keeps no {name}"
        if type(None) in getattr(kind, "__args__", ()):
            assert columns[name].nullable
    assert ADDED.keys() <= get_type_hints(ViewChange).keys()


def test_each_part_of_the_view_is_changed_by_one_speaker_only() -> None:
    """Then it is the same in whatever order speakers are heard."""
    changers: dict[str, set[str]] = {}
    for cls in FACTS:
        for name in from_json(golden(cls.type)).fact.changes():
            changers.setdefault(name, set()).add(cls.speaker)
    assert {name: found for name, found in changers.items() if len(found) > 1} == {}
    assert changers.keys() == get_type_hints(ViewChange).keys(), "a part that nothing changes"


@given(st.data())
def test_any_interleaving_of_speakers_ends_in_the_same_view(data: st.DataObject) -> None:
    lives = [data.draw(life(speaker)) for speaker in SERVICES if speaker != CaseSubmitted.speaker]
    assert view_of(data.draw(interleaved(lives))) == view_of([fact for life in lives for fact in life])


@st.composite
def life(draw: st.DrawFn, speaker: str) -> list[Fact]:
    """Any facts of a speaker, as often as may be, in one order."""
    said = [from_json(golden(cls.type)).fact for cls in FACTS if cls.speaker == speaker]
    return draw(st.lists(st.sampled_from(said).map(varied(draw)), max_size=8))


def varied(draw: st.DrawFn) -> Callable[[Fact], Fact]:
    """Facts of one class that say different things."""
    codes = st.sampled_from(["photo", "id_card", "verify", "decide"])

    def vary(fact: Fact) -> Fact:
        changes: dict[str, Any] = {}
        for name, field in type(fact).model_fields.items():
            if field.annotation is str:
                changes[name] = draw(codes)
            elif field.annotation == list[str]:
                changes[name] = draw(st.lists(codes, unique=True))
            elif field.annotation is datetime:
                changes[name] = draw(st.datetimes(timezones=st.just(NOON.tzinfo)))
        return fact.model_copy(update=changes)

    return vary


NOON = from_json(golden(StepPassed.type)).time


@st.composite
def interleaved(draw: st.DrawFn, lives: Sequence[Sequence[Fact]]) -> list[Fact]:
    """All of them, each life in its order."""
    turns = draw(st.permutations([place for place, life in enumerate(lives) for _ in life]))
    left = [iter(life) for life in lives]
    return [next(left[turn]) for turn in turns]


def view_of(heard: Sequence[Fact]) -> Mapping[str, Any]:
    """What comes of these facts in this order."""
    view: dict[str, Any] = dict(BLANK)
    for fact in heard:
        view |= changed(view, fact.changes())
    return view


def test_what_is_asked_for_anew_has_not_come_yet() -> None:
    view = {**BLANK, "asked": ["photo"], "supplied": ["photo"]}
    more = changed(view, {"supplied": ["id_card"]})
    assert more == {"supplied": ["id_card", "photo"]}
    asked: ViewChange = {"state": CaseState.CORRECTION_REQUIRED, "asked": ["photo"]}
    assert changed(view, asked) == {**asked, "supplied": []}


def test_the_view_hears_by_one_method_what_people_see_and_nothing_else() -> None:
    heard = handlers_of(part("intake", "worker").Worker)
    assert heard.keys() == {cls.type for cls in seen_facts() if cls.speaker != "intake"}
    assert {handler.command.__name__ for handler in heard.values()} == {"note_fact"}


def test_nobody_acts_on_what_is_harmless_to_lose() -> None:
    harmless = {cls.type for cls in FACTS if cls.harmless}
    assert harmless
    for service in SERVICES:
        heard = handlers_of(part(service, "worker").Worker)
        assert service == "intake" or not harmless & heard.keys()


def noted(event: Event, **changes: Any) -> TimelineEntry:
    """A fact as it lies in the timeline."""
    columns: dict[str, Any] = {
        "case_no": event.case,
        "at": event.time,
        "service": event.speaker,
        "sequence": event.sequence,
        "fact": event.fact.called,
        "details": event.fact.details(),
        "only_for": event.fact.only_for(),
    }
    return TimelineEntry(**columns | changes)
