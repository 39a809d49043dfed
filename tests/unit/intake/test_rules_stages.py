"""Where a case stands: every state has one stage that is now."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.intake.rules.stages import Progress, Standing, stages_of
from shared.catalogue.loader import BUILT_IN, load_matter

MATTER = load_matter(BUILT_IN / "residence_permit.apply.yaml")
T0 = datetime(2026, 11, 23, 2, tzinfo=UTC)
SUBMITTED = Standing(None, None, T0, None, None, None)
ACCEPTED = replace(SUBMITTED, accepted_at=T0 + timedelta(hours=1))
VERIFIED = replace(ACCEPTED, stage="decide")
APPROVED = replace(VERIFIED, outcome="approved", decided_at=T0 + timedelta(days=1), stage=None)
DENIED = replace(APPROVED, outcome="denied")


def shown(case: Standing) -> list[tuple[str, str]]:
    return [(stage.step or stage.code, stage.progress) for stage in stages_of(MATTER, {}, case)]


@pytest.mark.parametrize(
    ("case", "now"),
    [
        (SUBMITTED, "materials"),
        (ACCEPTED, "verify"),
        (replace(ACCEPTED, stage="verify"), "verify"),
        (VERIFIED, "decide"),
        (APPROVED, "certificate"),
        (DENIED, "closed"),
    ],
)
def test_one_stage_is_now_and_all_before_it_are_done(case: Standing, now: str) -> None:
    found = shown(case)
    place = [name for name, _ in found].index(now)
    assert [progress for _, progress in found[:place]] == [Progress.DONE] * place
    assert found[place][1] is Progress.NOW
    assert {progress for _, progress in found[place + 1 :]} <= {Progress.NEXT}


def test_a_closed_case_is_done_all_over() -> None:
    closed = replace(APPROVED, closed_at=T0 + timedelta(days=1, minutes=1))
    assert {progress for _, progress in shown(closed)} == {Progress.DONE}
    assert stages_of(MATTER, {}, closed)[-1].at == closed.closed_at


def test_a_refusal_has_no_certificate_to_wait_for() -> None:
    assert "certificate" not in dict(shown(DENIED))
    assert "certificate" in dict(shown(VERIFIED))


def test_the_decision_is_of_its_moment() -> None:
    decided = next(stage for stage in stages_of(MATTER, {}, APPROVED) if stage.step == "decide")
    assert decided.at == APPROVED.decided_at
