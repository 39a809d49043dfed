"""Routing: every case walks the steps that apply to it, in the order of the file, and one of them decides."""

from itertools import product
from typing import Any

import pytest

from services.approval.rules.routing import next_step
from shared.catalogue.lint import findings
from shared.catalogue.loader import BUILT_IN, load_matter
from shared.catalogue.matter import Matter

PLAIN = load_matter(BUILT_IN / "residence_permit.apply.yaml")


def with_steps(*steps: dict[str, Any]) -> Matter:
    verify = PLAIN.model_dump(mode="json")["steps"][0]
    made = [verify | {"limit": None, "names": {"zh": "环节", "en": "step"}} | step for step in steps]
    return Matter.model_validate(PLAIN.model_dump(mode="json") | {"steps": made})


BRANCHING = with_steps(
    {"code": "visit", "condition": {"residence_kind": ["rented", "employer"]}},
    {"code": "verify"},
    {"code": "decide_school", "decides": True, "condition": {"ground": "schooling"}},
    {"code": "decide_other", "decides": True, "condition": {"ground": ["employment", "housing"]}},
)


def walk(matter: Matter, facts: dict[str, Any]) -> list[str]:
    passed: list[str] = []
    while (step := next_step(matter, facts, passed)) is not None:
        assert step.code not in passed
        passed.append(step.code)
    return passed


@pytest.mark.parametrize(
    ("facts", "way"),
    [
        ({"residence_kind": "owned", "ground": "housing"}, ["verify", "decide_other"]),
        ({"residence_kind": "rented", "ground": "housing"}, ["visit", "verify", "decide_other"]),
        ({"residence_kind": "employer", "ground": "schooling"}, ["visit", "verify", "decide_school"]),
    ],
)
def test_the_way_follows_the_facts(facts: dict[str, Any], way: list[str]) -> None:
    assert walk(BRANCHING, facts) == way


def test_the_residence_permit_is_verified_then_decided() -> None:
    assert walk(PLAIN, {}) == ["verify", "decide"]


@pytest.mark.parametrize("matter", [PLAIN, BRANCHING], ids=["plain", "branching"])
def test_what_passes_the_lint_decides_exactly_once_and_last(matter: Matter) -> None:
    assert findings(matter) == []
    kinds, grounds = ("owned", "rented", "employer"), ("employment", "housing", "schooling")
    for kind, ground in product(kinds, grounds):
        way = walk(matter, {"residence_kind": kind, "ground": ground})
        assert [matter.step(code).decides for code in way] == [False] * (len(way) - 1) + [True]


def test_a_fact_that_leads_to_no_decision_is_found_by_the_lint() -> None:
    gap = with_steps({"code": "decide_school", "decides": True, "condition": {"ground": "schooling"}})
    assert walk(gap, {"ground": "housing"}) == []
    assert any("not exactly one step decides" in found.wrong for found in findings(gap))
