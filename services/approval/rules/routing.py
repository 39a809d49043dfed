"""Which step of a matter comes next."""

from collections.abc import Collection, Mapping
from typing import Any

from shared.catalogue.matter import Matter, Step


def next_step(matter: Matter, facts: Mapping[str, Any], passed: Collection[str]) -> Step | None:
    """The first step, in the matter's order, that applies to these facts and is not passed; None at the end."""
    for step in matter.steps:
        if step.code not in passed and _holds(step.condition, facts):
            return step
    return None


def _holds(condition: Mapping[str, Any] | None, facts: Mapping[str, Any]) -> bool:
    """Every named fact has the value, or one of the values; a fact nobody stated has none."""
    return all(
        name in facts and facts[name] in (wanted if isinstance(wanted, list | tuple) else [wanted])
        for name, wanted in (condition or {}).items()
    )
