"""Which step of a matter comes next."""

from collections.abc import Collection, Mapping

from shared.catalogue.matter import Matter, Step
from shared.catalogue.terms import Scalar, holds


def next_step(matter: Matter, facts: Mapping[str, Scalar], passed: Collection[str]) -> Step | None:
    """The first step, in the matter's order, that applies to these facts and is not passed, or None."""
    for step in matter.steps:
        if step.code not in passed and holds(step.condition, facts):
            return step
    return None
