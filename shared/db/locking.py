"""Locking case rows: always in the order of their numbers, so that two batches never wait for each other."""

from collections.abc import Collection
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import Select, bindparam, select
from sqlalchemy.orm import Session

from shared.db.types import CaseRow

C = TypeVar("C", bound=CaseRow)


def lock_rows(session: Session, model: type[C], numbers: Collection[str]) -> dict[str, C]:
    """A service's rows of those cases that exist, locked; no statement when none is asked for."""
    if not numbers:
        return {}
    return {case.number: case for case in session.scalars(_locking(model), {"numbers": sorted(numbers)})}


@cache
def _locking(model: type[Any]) -> Select[Any]:
    # Made once: building and comparing a statement costs as much as running it.
    wanted = model.number.in_(bindparam("numbers", expanding=True))
    return select(model).where(wanted).order_by(model.number).with_for_update()
