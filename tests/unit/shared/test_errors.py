"""Errors carry a stable code, and no two classes share one."""

import pytest

from shared.errors import AppError, FieldError, NotFound, Unavailable, error_classes


def test_a_code_belongs_to_one_class_only() -> None:
    with pytest.raises(TypeError, match=r"resource\.not-found"):
        type("Stolen", (AppError,), {"code": "resource.not-found", "__module__": "elsewhere"})


def test_a_subclass_without_a_code_keeps_its_parents() -> None:
    class Narrower(NotFound):
        pass

    assert Narrower().code == "resource.not-found"
    assert Narrower not in list(error_classes())


def test_every_code_has_words_in_both_languages_and_a_status() -> None:
    for cls in error_classes():
        assert cls.title_zh, cls.code
        assert cls.title_en, cls.code
        assert cls.title_en.isascii(), cls.code
        assert not cls.title_zh.isascii(), cls.code
        assert 400 <= cls.status <= 599, cls.code


def test_the_text_of_an_error_is_for_english_logs() -> None:
    error = NotFound("无", "nothing", fields=[FieldError("/a", "field.missing", "必填", "required")])
    assert str(error) == "resource.not-found: nothing; /a required"


def test_unavailable_says_when_to_come_back() -> None:
    assert Unavailable(retry_after_s=7).retry_after_s == 7
