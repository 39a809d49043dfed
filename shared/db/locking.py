"""Locking case rows: always in the order of their numbers, so that two batches never wait for each other."""

from collections.abc import Collection
from typing import Any, TypeVar

from sqlalchemy import Select, bindparam, select
from sqlalchemy.orm import Session

from shared.db.types import CaseRow

C = TypeVar("C", bound=CaseRow)

# Building and comparing a statement costs as much as running it.
_made: dict[type[Any], Select[Any]] = {}


def lock_rows(session: Session, model: type[C], numbers: Collection[str]) -> dict[str, C]:
    """A service's rows of those cases that exist, locked; no statement when none is asked for."""
    if not numbers:
        return {}
    if model not in _made:
        wanted = model.number.in_(bindparam("numbers", expanding=True))
        _made[model] = select(model).where(wanted).order_by(model.number).with_for_update()
    found = session.scalars(_made[model], {"numbers": sorted(numbers)})
    return {case.number: case for case in found}
