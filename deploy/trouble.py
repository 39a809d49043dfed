"""The list of trouble of all services together, for `onestop trouble` and `onestop doctor`."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from deploy.services import part
from shared.bus.context import ServiceContext
from shared.bus.trouble import (
    Place,
    Source,
    Tally,
    Trouble,
    TroubleNotFound,
    list_trouble,
    tally_trouble,
)
from shared.bus.trouble_sources import SOURCES
from shared.paging import Page, moment, page_of, plain, read_cursor


@dataclass(frozen=True, slots=True)
class _List:
    """The trouble of one kind in one service."""

    context: ServiceContext
    source: Source
    kind: str

    @property
    def rank(self) -> tuple[str, str]:
        """Where it stands among what began at the same moment."""
        return self.context.service, self.kind


def sources_of(service: str) -> tuple[Source, ...]:
    """What every service has, and what this one adds (`services/<name>/trouble.py`)."""
    if find_spec(f"services.{service}.trouble") is None:
        return SOURCES
    own: Sequence[Source] = part(service, "trouble").SOURCES
    return (*SOURCES, *own)


def kinds(services: Sequence[str]) -> tuple[str, ...]:
    """Every kind of trouble that these services can have."""
    found = [kind for service in services for source in sources_of(service) for kind in source.kinds]
    return tuple(dict.fromkeys(found))


def list_all(
    contexts: Sequence[ServiceContext], chosen: Sequence[str], *, cursor: str | None, limit: int
) -> Page[Trouble]:
    """A page of the trouble of these kinds, the oldest first. Raises CursorInvalid."""
    after = read_cursor(cursor, moment, plain, plain, plain) if cursor else None
    lists = [
        _List(context, source, kind)
        for context in contexts
        for source in sources_of(context.service)
        for kind in source.kinds
        if kind in chosen
    ]
    found = [
        (trouble.since, one.rank, n, trouble)
        for one in lists
        for n, trouble in enumerate(
            list_trouble(one.context, one.source, one.kind, _place(one, after), limit + 1)
        )
    ]
    found.sort(key=lambda item: item[:3])
    return page_of([item[3] for item in found[: limit + 1]], limit, _key)


def _key(trouble: Trouble) -> tuple[Any, ...]:
    return trouble.since, trouble.service, trouble.kind, trouble.id.split(".", 2)[2]


def _place(one: _List, after: tuple[Any, ...] | None) -> Place | None:
    if after is None:
        return None
    at, service, kind, row_id = after
    if one.rank == (service, kind):
        return Place(at, row_id)
    return Place(at, included=one.rank > (service, kind))


def find(contexts: Sequence[ServiceContext], trouble_id: str) -> tuple[ServiceContext, Source, str]:
    """Whose trouble this is, and its own part of the id. Raises TroubleNotFound for another id."""
    service, _, rest = trouble_id.partition(".")
    family, _, row_id = rest.partition(".")
    for context in contexts:
        for source in sources_of(context.service):
            if (context.service, source.family) == (service, family) and row_id:
                return context, source, row_id
    raise TroubleNotFound(
        f"没有编号为 {trouble_id} 的问题；onestop trouble list 可查看全部",
        f"nothing is known as {trouble_id}; `onestop trouble list` shows what is",
    )


def tally_all(contexts: Sequence[ServiceContext]) -> dict[tuple[str, str], Tally]:
    """(service, kind) -> how much there is, where there is any."""
    return {
        (context.service, kind): tally
        for context in contexts
        for kind, tally in tally_trouble(context, sources_of(context.service)).items()
        if tally.count
    }
