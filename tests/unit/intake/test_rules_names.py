"""Two spellings of a name are told from two names."""

import pytest

from services.intake.rules.names import same_name


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("张三", " 张 三 "),
        ("阿凡提·买买提", "阿凡提•买买提"),
        ("阿凡提·买买提", "阿凡提．买买提"),
        ("阿凡提·买买提", "阿凡提买买提"),
        ("SMITH JOHN", "John Smith"),
        ("Smith-Jones, Ann".replace(",", ""), "ANN SMITH JONES"),
        ("Ｊｏｈｎ　Smith", "john smith"),
    ],
)
def test_one_name_in_two_spellings(one: str, other: str) -> None:
    assert same_name(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("张三", "张山"), ("张三", "三张"), ("王小明", "王明"), ("John Smith", "Jon Smith"), ("张三", "")],
)
def test_two_names(one: str, other: str) -> None:
    assert not same_name(one, other)
