"""The HTTP doors of notify: the citizen's in-app inbox."""

from typing import Any
from uuid import UUID

from fastapi import APIRouter

from services.notify import queries, schemas
from services.notify.models import InboxMessage
from services.notify.sending import CODE_JOB
from shared.ask import Params, QuestionHandler
from shared.auth.deps import Citizen
from shared.bus.context import ServiceContext
from shared.bus.unit import unit_of
from shared.http.context import WebContext
from shared.http.doors import doors
from shared.http.paging import Cursor, Limit
from shared.paging import moment, page_of, read_cursor

_OF_A_CASE = 50


def answers(context: ServiceContext) -> dict[str, QuestionHandler]:
    """What the other services may ask notify."""

    def messages(params: Params) -> Params:
        """What a person was told about a case, in their in-app inbox, the newest first; at most 50."""
        with unit_of(context, "notify.messages") as unit:
            found = queries.messages_of(
                unit.session, UUID(params["person"]), params["case"], limit=_OF_A_CASE
            )
            return {"messages": [_line(message) for message in found]}

    def send_code(params: Params) -> Params:
        """Send a one-time code of intake's to a contact of this kind; intake says where it goes, and what it
        is, when it is sent. The same code is sent once, however often this is asked."""
        code_id = str(UUID(params["code_id"]))
        with unit_of(context, "notify.send_code") as unit:
            # By kind and not by channel: which channels there are only the worker knows.
            kind = f"{CODE_JOB}.{params['kind']}"
            unit.later(kind, code_id, {"code_id": code_id, "locale": params["locale"]})
        return {}

    def code_kinds(params: Params) -> Params:
        """The kinds of contact to which one-time codes can be sent, as the worker has said."""
        with unit_of(context, "notify.code_kinds") as unit:
            return {"kinds": list(queries.code_channels(unit.session))}

    return {"messages": messages, "send_code": send_code, "code_kinds": code_kinds}


def router(context: WebContext) -> APIRouter:
    """All doors of notify."""
    api = doors("/api/v1")

    @api.get("/messages", response_model=schemas.MessageList)
    def list_messages(citizen: Citizen, cursor: Cursor = None, limit: Limit = 50) -> dict[str, Any]:
        """One's in-app inbox, the newest first; `next` is the cursor of the next page, null at the end."""
        assert citizen.person_ref is not None
        after = read_cursor(cursor, moment, UUID) if cursor else None
        with unit_of(context.service, "messages.read") as unit:
            found = queries.inbox_of(unit.session, citizen.person_ref, after=after, limit=limit)
            page = page_of(found, limit, lambda message: (message.sent_at, message.id))
            return {"messages": [_line(message) for message in page.lines], "next": page.next}

    return api


def _line(message: InboxMessage) -> dict[str, Any]:
    return {
        "id": str(message.id),
        "case": message.case_no,
        "title": message.title,
        "body": message.body,
        "sent_at": message.sent_at.isoformat(),
    }
