"""What a service that was taken over can put through another one's door in the database: no message stops its
reader, and none changes what somebody else said."""

import json
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from deploy.postgres import PostgresServer
from shared.bus.comparison import Comparison
from shared.bus.inbox import ID_CONFLICT, MAX_DEATHS
from shared.db.transaction import transaction
from shared.settings import Settings
from tests.integration.bus.history import History, Stage, Stored, make_stage
from tests.support.installation import make_installation, settle
from tests.support.trouble import trouble_of

TOO_LARGE = {"a number": "1e100000", "a text": f'"{"x" * 96_000}"', "many": f"[{'1e9999,' * 20}1]"}
UNSTORABLE = {"half a character": '"\\ud800"', "half of another": '"\\udfff"', "zero": '"\\u0000"'}


@pytest.fixture(scope="module")
def stage(
    postgres: PostgresServer,
    template_settings: Settings,
    history: History,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stage]:
    """One notify that lives through all of it."""
    with make_installation(postgres, template_settings, tmp_path_factory.mktemp("poison"), None) as made:
        yield make_stage(made, "notify", history)


def deliver(stage: Stage, elements: Sequence[str], speaker: str = "intake") -> None:
    """What stands there goes to the door as it stands: no client of ours is between."""
    body = f'{{"received_at": "2026-11-23T00:00:00Z", "events": [{",".join(elements)}]}}'
    with transaction(stage.installation.context(speaker).engine, "test.deliver") as connection:
        connection.execute(text("SELECT notify.deliver(CAST(:body AS jsonb))"), {"body": body})


def poisoned(fact: Stored, poison: str, place: str) -> str:
    """A sound fact with one thing more in it."""
    return f'{json.dumps(fact)[:-1]}, "{place}": {poison}}}'


def set_aside(stage: Stage) -> int:
    return int(stage.installation.value("SELECT COALESCE(sum(count), 0) FROM notify.undecodable_counts"))


def check_that_what_stands_behind_is_handled(stage: Stage) -> None:
    number, facts = stage.new_case()
    deliver(stage, [json.dumps(facts[0])])
    inbox = stage.installation.inbox("notify")
    while inbox.run_batch(100).count:
        continue
    assert stage.outcome(number)
    assert stage.installation.value("SELECT count(*) FROM notify.messages") == 0


NUMBERS = st.builds("{}e{}".format, st.integers(1, 9), st.integers(999, 90_000))
DEEP = st.integers(100, 5000).map(lambda n: "[" * n + "]" * n) | st.integers(100, 2500).map(
    lambda n: '{"a":' * n + "1" + "}" * n
)
OTHERS = st.sampled_from([f'"{"x" * 90_000}"', '{"a": 1, "a": {"a": 2, "a": 3}}', "-0.0", "null"])


@settings(max_examples=25, deadline=None, derandomize=True)
@given(poison=NUMBERS | DEEP | OTHERS, place=st.sampled_from(["x", "data", "sequence", "source2"]))
def test_whatever_jsonb_takes_stops_nobody(stage: Stage, poison: str, place: str) -> None:
    _, [fact, *_] = stage.new_case()
    number, facts = stage.new_case()
    before = set_aside(stage)
    bare = f'{{"source": "/onestop/intake", "x": {poison}}}'

    deliver(stage, [bare, poisoned(fact, poison, place), json.dumps(facts[0])])
    check_that_what_stands_behind_is_handled(stage)

    assert stage.outcome(number), "handled, though it stood in the same message"
    assert set_aside(stage) > before
    assert trouble_of(stage.installation.context("notify"), "undecodable")


@pytest.mark.parametrize("poison", [*TOO_LARGE.values(), *UNSTORABLE.values()], ids=[*TOO_LARGE, *UNSTORABLE])
def test_the_door_refuses_what_no_fact_can_be(stage: Stage, poison: str) -> None:
    before = set_aside(stage)
    with pytest.raises(DBAPIError):
        deliver(stage, [f'{{"source": "/onestop/intake", "x": {poison}}}'])

    check_that_what_stands_behind_is_handled(stage)
    assert set_aside(stage) == before


def test_a_message_with_which_three_holders_died_is_set_aside(stage: Stage) -> None:
    _, facts = stage.new_case()
    context = stage.installation.context("notify")
    deliver(stage, [json.dumps(facts[0])])
    inbox = stage.installation.inbox("notify")
    inbox._store.claim_messages(context, 100)
    for _ in range(MAX_DEATHS - 1):
        silence(stage)
        lost = inbox._store.claim_lost_message(context, max_deaths=MAX_DEATHS)
        assert lost is not None
        assert (len(lost.events), lost.undecodable) == (1, [])
    silence(stage)

    assert inbox.run_alone() == 1

    check_that_what_stands_behind_is_handled(stage)
    assert any(str(found.reason).startswith("process-died") for found in trouble_of(context, "undecodable"))


def silence(stage: Stage) -> None:
    """Nobody has heard of any holder for long; what came first is taken over first."""
    stage.installation.change(
        "UPDATE notify.messages SET suspected = true, due_at = now() - interval '1 day' "
        "+ id * interval '1 ms'"
    )


@pytest.mark.parametrize("way", ["one batch", "after a death", "unreadable"])
@pytest.mark.parametrize("lies_there", [True, False], ids=["it lies there", "it comes beside"])
def test_a_fact_under_the_id_of_another_ones_changes_nothing_about_it(
    stage: Stage, expected: list[str], way: str, lies_there: bool
) -> None:
    number, facts = stage.new_case()
    context, inbox = stage.installation.context("notify"), stage.installation.inbox("notify")
    second = [fact for fact in facts if fact["source"] == "/onestop/approval"][1]
    _, others = stage.new_case()
    forged = {**next(f for f in others if f["source"] == "/onestop/materials"), "id": second["id"]}
    if way == "unreadable":
        forged["type"] = "onestop.materials.unheard-of.v1"
    deliver(stage, [json.dumps(second)], "approval")
    if lies_there:
        inbox.run_batch(100)
        assert place_of(stage, second)
    before = refused(stage)

    deliver(stage, [json.dumps(forged)], "materials")
    if way == "after a death":
        inbox._store.claim_messages(context, 100)
        while stage.installation.value("SELECT count(*) FROM notify.messages"):
            silence(stage)
            inbox.run_alone()
    inbox.run_batch(100)

    assert place_of(stage, second) == [("approval", number, int(second["sequence"]), number)]
    assert refused(stage) == before + 1
    for fact in facts:
        if fact is not second:
            deliver(stage, [json.dumps(fact)], fact["source"].removeprefix("/onestop/"))
    settle(stage.installation, "notify", inbox)
    assert stage.outcome(number) == expected


def test_the_comparison_takes_nobody_elses_fact_for_the_one_it_looks_for(stage: Stage) -> None:
    _, facts = stage.new_case()
    fact = next(one for one in facts if one["source"] == "/onestop/materials")
    deliver(stage, [json.dumps({**fact, "sequence": "9"})], "materials")
    stage.installation.inbox("notify").run_batch(100)
    comparison = Comparison(stage.installation.context("notify"), ["approval", "materials"], lambda at: True)
    lying = (fact["subject"], 9, fact["id"])
    another = ("another", 9, fact["id"])

    assert comparison._not_here("materials", [lying, another]) == [another]
    assert comparison._not_here("approval", [lying]) == [lying]


def place_of(stage: Stage, fact: Stored) -> list[tuple[object, ...]]:
    """Whose the row under the id of this fact is, by its columns and by what is in it."""
    found = stage.installation.rows(
        "SELECT speaker, case_no, sequence, event->>'subject' FROM notify.inbox WHERE id = :id", id=fact["id"]
    )
    return [tuple(row) for row in found]


def refused(stage: Stage) -> int:
    return int(
        stage.installation.value(
            "SELECT COALESCE(sum(count), 0) FROM notify.undecodable_counts WHERE reason = :reason",
            reason=ID_CONFLICT,
        )
    )
