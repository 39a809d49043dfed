"""What people do about trouble, as tests say it."""

from typing import Any

from deploy.trouble import find, sources_of
from shared.bus.context import ServiceContext
from shared.bus.trouble import (
    Trouble,
    drop_trouble,
    list_trouble,
    retry_trouble,
    show_trouble,
)


def trouble_of(context: ServiceContext, *kinds: str) -> list[Trouble]:
    """All trouble of one service, of these kinds or of any, kind by kind."""
    return [
        trouble
        for source in sources_of(context.service)
        for kind in source.kinds
        if not kinds or kind in kinds
        for trouble in list_trouble(context, source, kind, None, 1000)
    ]


def show(context: ServiceContext, trouble_id: str) -> dict[str, Any]:
    """All that is known of one piece."""
    return show_trouble(*find([context], trouble_id))


def retry(context: ServiceContext, trouble_id: str) -> None:
    """The operator lets it be tried again."""
    _, source, row_id = find([context], trouble_id)
    retry_trouble(context, source, row_id, "operator")


def drop(context: ServiceContext, trouble_id: str) -> None:
    """The operator gives it up."""
    _, source, row_id = find([context], trouble_id)
    drop_trouble(context, source, row_id, "operator")
