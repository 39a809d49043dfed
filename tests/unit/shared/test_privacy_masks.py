"""Masks hide people; numbers that are no people's stay readable."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.privacy.masks import mask_id_number, mask_text, scrub_error_text

ID = "330102199003078515"
PHONE = "13800138000"


def test_an_id_number_keeps_its_ends() -> None:
    assert mask_id_number("330102199001011234") == "3301**********1234"
    assert mask_id_number("1234567") == "*******"


@pytest.mark.parametrize(
    "around", ["{}", "身份证{}号", "id={},", "ID{}", '"{}"', "x-{}-y", "a.{}", "/cases/{}?x"]
)
def test_an_id_number_is_found_wherever_it_stands(around: str) -> None:
    for number in (ID, "33010219900307851X", "33010219900307851x"):
        masked = mask_text(around.format(number))
        assert number not in masked
        assert number[4:14] not in masked


@pytest.mark.parametrize(
    "written",
    [PHONE, "+8613800138000", "86-138 0013 8000", "138-0013-8000", "电话13800138000", "tel13800138000"],
)
def test_a_phone_is_found_however_it_is_written(written: str) -> None:
    masked = mask_text(written)
    assert "0013" not in masked
    assert masked.endswith("138****8000")


@pytest.mark.parametrize(
    "text",
    [
        "3301022611230000017",
        "330102261123000001X",
        "1763859000123",
        "0.13800138000",
        "2026-11-23T09:00:00Z",
        "0af7651916cd43dd8448eb211c80319c",
    ],
)
def test_case_numbers_times_and_trace_ids_stay(text: str) -> None:
    assert mask_text(text) == text


@given(st.uuids())
def test_uuids_stay(value: uuid.UUID) -> None:
    assert mask_text(str(value)) == str(value)


@given(st.text(), st.text())
def test_a_number_never_survives_between_anything_but_digits(before: str, after: str) -> None:
    if (
        not (before[-1:].isascii() and before[-1:].isalnum())
        and not after[:1].isascii()
        and before[-1:] != "."
    ):
        assert ID not in mask_text(before + ID + after)


def test_messages_of_the_database_lose_their_values() -> None:
    text = (
        'duplicate key value violates unique constraint "person_pk"\n'
        "DETAIL:  Key (name)=(张三\n李四) already exists.\n"
        "[SQL: INSERT INTO person (name) VALUES (%(name)s)]\n"
        "[parameters: {'name': '张三'}]\n"
        "(Background on this error at: https://sqlalche.me/e/21/gkpj)"
    )
    scrubbed = scrub_error_text(text)
    assert "张三" not in scrubbed
    assert "李四" not in scrubbed
    assert "person_pk" in scrubbed
    assert "INSERT INTO person" in scrubbed


@pytest.mark.parametrize(
    "text",
    [
        "LINE 1: INSERT INTO person VALUES ('张三')\n                     ^",
        'invalid input syntax for type integer: "张三"',
        "Input should be a valid date [type=date_parsing, input_value='张三', input_type=str]",
        "DETAIL:  Failing row contains (1, 张三, null).",
    ],
)
def test_quoted_values_go(text: str) -> None:
    assert "张三" not in scrub_error_text(text)
