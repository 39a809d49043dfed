"""Several ordered lists read as one, without reading more of any than is needed."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, Subquery, select, union_all


def merged(branches: Sequence[Select[*tuple[Any, ...]]], *order: str, newest_first: bool = False) -> Subquery:
    """The first rows of all branches together.

    Each branch is ordered by the columns named in `order`, as an index holds them, and limited to a page, all
    to the same: the database then takes from each only what it needs next. Asked in one WHERE with IN or OR,
    it reads and sorts everything.
    """
    if len(branches) == 1:
        return branches[0].subquery()
    together = union_all(*(branch.subquery().select() for branch in branches)).subquery()
    keys = [together.c[name].desc() if newest_first else together.c[name] for name in order]
    return select(together).order_by(*keys).limit(branches[0]._limit_clause).subquery()
