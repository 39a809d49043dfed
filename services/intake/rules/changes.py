"""What the citizen's view is after a fact."""

from collections.abc import Callable, Mapping
from typing import Any

from shared.events.view import ViewChange

ADDED: Mapping[str, Callable[[Any, Any], Any]] = {
    "supplied": lambda before, more: sorted({*before, *more}),
    "consents": lambda before, more: {
        role: basis for role, basis in {**before, **more}.items() if basis is not None
    },
}
"""Parts of which facts change something, and how; all others they replace."""


def changed(before: Mapping[str, Any], change: ViewChange) -> dict[str, Any]:
    """The parts that are different now. `before` holds those that are only changed in part."""
    now: dict[str, Any] = {
        part: ADDED[part](before[part], value) if part in ADDED else value for part, value in change.items()
    }
    if "asked" in change:
        now["supplied"] = []
    return now
