"""The HTTP doors of notify: the citizen's in-app inbox, and what operators see of deliveries in doubt."""

from typing import Any

from fastapi import APIRouter

from services.notify import queries
from shared.ask import Params, QuestionHandler
from shared.auth.deps import Citizen
from shared.bus.context import ServiceContext
from shared.bus.unit import unit_of
from shared.http.again import doors
from shared.http.context import WebContext


def answers(context: ServiceContext) -> dict[str, QuestionHandler]:
    """What the other services may ask notify."""

    def deliveries(params: Params) -> Params:
        """Everything that was or is to be told about a case."""
        with unit_of(context, "notify.deliveries") as unit:
            found = queries.deliveries_of(unit.session, params["case"])
            return {
                "deliveries": [
                    {
                        "id": str(d.id),
                        "channel": d.channel,
                        "template": d.template,
                        "status": d.state,
                        "reason": d.reason,
                        "planned_at": d.planned_at.isoformat(),
                        "sent_at": d.sent_at.isoformat() if d.sent_at else None,
                    }
                    for d in found
                ]
            }

    return {"deliveries": deliveries}


def router(context: WebContext) -> APIRouter:
    """All doors of notify."""
    api = doors("/api/v1", ["notify"])

    @api.get("/messages")
    def messages(citizen: Citizen) -> dict[str, Any]:
        """One's in-app inbox, the newest first, 100 at most."""
        assert citizen.person_ref is not None
        with unit_of(context.service, "messages.read") as unit:
            return {
                "messages": [
                    {
                        "id": str(m.id),
                        "case": m.case_no,
                        "title": m.title,
                        "body": m.body,
                        "sent_at": m.sent_at.isoformat(),
                    }
                    for m in queries.inbox_of(unit.session, citizen.person_ref, 100)
                ]
            }

    return api
