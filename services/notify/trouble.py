"""Deliveries in doubt: whether somebody was told, nobody knows. People ask again, or let it be."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.exc import NoResultFound

from services.notify import commands, queries
from services.notify.models import Case, Delivery
from services.notify.rules.delivery import DeliveryState, Next
from shared.bus.jobs import reopen_job
from shared.bus.trouble import (
    TOO_LONG,
    Place,
    Source,
    Tally,
    Trouble,
    TroubleNotFound,
    beyond,
    place_values,
    tally_of,
)
from shared.bus.unit import Unit

_IN_DOUBT = "FROM notify.deliveries WHERE state = 'in_doubt' AND planned_at < :too_long"


class Deliveries:
    """Deliveries of which the outside world has not said for long what became of them."""

    family = "delivery"
    IN_DOUBT = "delivery_in_doubt"
    kinds = (IN_DOUBT,)

    def page(self, unit: Unit, kind: str, after: Place | None, limit: int) -> Sequence[Trouble]:
        """See `Source`."""
        rows = unit.connection.execute(
            text(
                "SELECT id::text AS id, case_no, channel, template, reason, sends, planned_at AS since "
                f"{_IN_DOUBT} AND {beyond(after, 'planned_at', 'id')} ORDER BY planned_at, id LIMIT :most"
            ),
            {**place_values(after), "most": limit, "too_long": unit.wall - TOO_LONG},
        ).mappings()
        return [
            Trouble(
                id=f"notify.delivery.{row['id']}",
                service="notify",
                kind=kind,
                since=row["since"],
                case=row["case_no"],
                about=f"{row['channel']} {row['template']}",
                reason=row["reason"],
                attempts=row["sends"],
            )
            for row in rows
        ]

    def tally(self, unit: Unit, kind: str) -> Tally:
        """See `Source`."""
        return tally_of(unit, _IN_DOUBT, "planned_at", too_long=unit.wall - TOO_LONG)

    def show(self, unit: Unit, row_id: str) -> dict[str, Any]:
        """See `Source`. Whom it was to reach is not shown."""
        delivery, _ = self._lock(unit, row_id)
        shown = ("channel", "template", "locale", "state", "reason", "asked", "sends", "provider_ref")
        moments = ("planned_at", "called_at")
        return {
            "id": f"notify.delivery.{row_id}",
            "case": delivery.case_no,
            **{name: getattr(delivery, name) for name in (*shown, *moments)},
        }

    def retry(self, unit: Unit, row_id: str) -> None:
        """Ask the outside world again, as often as the first time; nothing is sent before it has answered."""
        delivery, case = self._lock(unit, row_id)
        delivery.asked = 0
        payload = {"delivery": row_id}
        reopen_job(unit, f"{commands.SEND_JOB}.{delivery.channel}", row_id, payload, case.number)

    def drop(self, unit: Unit, row_id: str) -> None:
        """Let it count as failed; it is never sent again."""
        delivery, case = self._lock(unit, row_id)
        given_up = Next(DeliveryState.FAILED, None, "given-up")
        commands.note_answer(unit, delivery, case, given_up, asked=delivery.asked, provider_ref=None)

    def _lock(self, unit: Unit, row_id: str) -> tuple[Delivery, Case]:
        try:
            delivery, case = queries.lock_delivery(unit.session, UUID(row_id))
        except (ValueError, NoResultFound):
            raise TroubleNotFound from None
        if delivery.state != DeliveryState.IN_DOUBT:
            raise TroubleNotFound
        return delivery, case


SOURCES: tuple[Source, ...] = (Deliveries(),)
"""What notify adds to the list of trouble."""
