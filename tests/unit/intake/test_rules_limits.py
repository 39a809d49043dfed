"""Which limits an application counts for: by whom, about whom, to which number."""

from uuid import UUID

import pytest

from services.intake.rules.limits import counts_of
from services.intake.rules.submission import NamedPerson
from shared.auth.principal import Principal
from shared.sections import LimitSettings
from tests.support.principals import PROGRAM, citizen, operator

LIMITS = LimitSettings()
ME, OTHER = UUID(int=1), UUID(int=2)
REFS = {"applicant": OTHER, "agent": ME}
PEOPLE = {
    "applicant": NamedPerson("甲", "1", "13800000001", "A@mail.example.org"),
    "agent": NamedPerson("乙", "2", "13800000002"),
}
MINE = {f"by/citizen/{ME}": 20, f"by/citizen/{ME}/in/m.m": 10}


def counts(by: Principal, people: dict[str, NamedPerson] | None = None) -> dict[str, int]:
    return counts_of(LIMITS, by, "m.m", PEOPLE if people is None else people, REFS)


def test_one_s_own_affairs_count_for_oneself_alone() -> None:
    alone = {"agent": PEOPLE["agent"]}
    assert counts(citizen(ME), alone) == MINE


def test_somebody_else_is_counted_with_every_way_to_reach_them() -> None:
    assert counts(citizen(ME)) == MINE | {
        f"about/{OTHER}": 10,
        f"about/{OTHER}/by/{ME}": 3,
        "reached/13800000001": 10,
        "reached/a@mail.example.org": 10,
    }


def test_a_number_that_is_also_one_s_own_is_not_somebody_else_s() -> None:
    shared = {**PEOPLE, "applicant": NamedPerson("甲", "1", "13800000002")}
    assert not [what for what in counts(citizen(ME), shared) if what.startswith("reached/")]


@pytest.mark.parametrize(
    ("by", "most"),
    [(operator(ME), {"by/operator/operator-1": 300}), (PROGRAM, {"by/client/test-program": 20_000})],
)
def test_who_files_for_many_has_a_limit_of_its_own(by: Principal, most: dict[str, int]) -> None:
    found = counts(by)
    assert {what: count for what, count in found.items() if what.startswith("by/")} == most
    assert found[f"about/{OTHER}"] == 10


def test_whom_a_program_names_are_all_others() -> None:
    found = counts(PROGRAM)
    assert {f"about/{ref}" for ref in (ME, OTHER)} <= found.keys()
    assert not [what for what in found if "/by/" in what]


def test_limits_are_those_of_the_settings() -> None:
    tight = LimitSettings(filings_by_citizen=1, filings_in_a_matter=2)
    found = counts_of(tight, citizen(ME), "m.m", {}, {})
    assert list(found.values()) == [1, 2]
