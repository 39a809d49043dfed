"""How a list is asked for page by page over HTTP."""

from typing import Annotated

from fastapi import Query

from shared.paging import LONGEST, MOST

Cursor = Annotated[
    str | None, Query(max_length=LONGEST, description="`next` of the page before; absent for the first")
]
Limit = Annotated[int, Query(ge=1, le=MOST, description="lines of a page at most")]
