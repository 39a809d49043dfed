"""A form that is wrong is told where, by a stable code, in two languages, and never with the value itself."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.catalogue.form import FormChecker
from shared.catalogue.loader import BUILT_IN, load_matter

MATTER = load_matter(BUILT_IN / "residence_permit.apply.yaml")
GOOD: dict[str, Any] = {
    "applicant": {"name": "测试甲", "id_number": "33010619900307123X", "phone": "13800138000"},
    "residence": {"address": "某路1号", "kind": "rented", "since": "2026-01-02"},
    "ground": "employment",
    "fetch_consent": True,
}
GONE = object()


def put(pointer: str, value: object) -> dict[str, Any]:
    form = copy.deepcopy(GOOD)
    *way, last = pointer.split("/")[1:]
    at = form
    for name in way:
        at = at[name]
    if value is GONE:
        del at[last]
    else:
        at[last] = value
    return form


@pytest.mark.parametrize(
    ("pointer", "value", "code"),
    [
        ("/applicant", GONE, "required"),
        ("/applicant/phone", GONE, "required"),
        ("/applicant", "x", "wrong-type"),
        ("/applicant/id_number", 33010619900307, "wrong-type"),
        ("/applicant/name", "长" * 61, "too-long"),
        ("/applicant/name", "", "too-short"),
        ("/applicant/name", "   ", "wrong-pattern"),
        ("/applicant/name", "a\x00b", "bad-character"),
        ("/applicant/name", "\ud800", "bad-character"),
        ("/residence/address", "长" * 201, "too-long"),
        ("/residence/kind", "castle", "not-a-choice"),
        ("/residence/since", "2026-02-30", "not-a-date"),
        ("/residence/since", "20260101", "not-a-date"),
        ("/residence/since", "2026-01-01T00:00:00", "not-a-date"),
        ("/fetch_consent", "yes", "wrong-type"),
        ("/fetch_consent", 1, "wrong-type"),
        ("/ground", None, "wrong-type"),
        ("/nickname", "x", "unknown-field"),
        ("/applicant/fax", "x", "unknown-field"),
        ("/a~b", "x", "unknown-field"),
    ],
)
def test_what_is_wrong_is_told_at_its_place(pointer: str, value: object, code: str) -> None:
    errors = MATTER.validate_form(put(pointer, value))
    told = {(error.pointer.replace("~0", "~"), error.code): error for error in errors}
    assert (pointer, code) in told
    error = told[(pointer, code)]
    assert error.message_zh.endswith("。")
    assert error.message_en.endswith(".")
    if isinstance(value, str) and len(value) > 3:
        assert value not in error.message_zh + error.message_en


def test_everything_that_is_wrong_is_told_at_once() -> None:
    form = put("/applicant/name", "") | {"ground": "other", "x": 1}
    del form["fetch_consent"]
    told = [(error.pointer, error.code) for error in MATTER.validate_form(form)]
    assert told == [
        ("/applicant/name", "too-short"),
        ("/applicant/name", "wrong-pattern"),
        ("/fetch_consent", "required"),
        ("/ground", "not-a-choice"),
        ("/x", "unknown-field"),
    ]


@pytest.mark.parametrize("form", [None, [], "x", 5, True])
def test_what_is_no_object_is_one_error_at_the_top(form: object) -> None:
    assert [(error.pointer, error.code) for error in MATTER.validate_form(form)] == [("", "wrong-type")]


def test_a_long_or_strange_name_of_an_unknown_field_is_not_sent_back_whole() -> None:
    (error,) = MATTER.validate_form(GOOD | {"n" * 5000 + "\x00": 1})
    assert len(error.pointer) <= 65
    (error,) = MATTER.validate_form(GOOD | {"\ud800": 1})
    assert error.pointer.encode() == b"/?"


def test_deep_nesting_is_refused_without_exhausting_the_stack() -> None:
    deep: Any = "x"
    for _ in range(5000):
        deep = {"a": deep}
    codes = {error.code for error in MATTER.validate_form(GOOD | {"a": deep})}
    assert codes == {"too-deep", "unknown-field"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_nothing_but_a_right_form_passes_and_nothing_breaks_the_check(value: Any) -> None:
    errors = MATTER.validate_form(value)
    assert errors
    json.dumps([(error.pointer, error.message_zh) for error in errors], ensure_ascii=False).encode()


@given(st.sampled_from(["/applicant", "/applicant/name", "/residence/since", "/ground"]), JSON)
def test_facts_of_whatever_passes_are_plain(pointer: str, value: Any) -> None:
    form = put(pointer, value)
    if not MATTER.validate_form(form):
        assert all(isinstance(fact, str | bool | int | None) for fact in MATTER.facts_of(form).values())


def test_numbers_out_of_range_and_wrong_constants_are_explained() -> None:
    checker = FormChecker(
        {"properties": {"n": {"type": "integer", "minimum": 1, "maximum": 3}, "c": {"const": "yes"}}}
    )
    told = {error.pointer: error.code for error in checker.errors({"n": 9, "c": "no"})}
    assert told == {"/n": "out-of-range", "/c": "not-a-choice"}
