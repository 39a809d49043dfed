"""What notify does besides when its database was brought back from an older copy."""

from datetime import datetime

from sqlalchemy import Connection, func, update

from services.notify.models import Delivery
from services.notify.rules.delivery import RESTORED, DeliveryState


def doubt_open_deliveries(connection: Connection, at: datetime) -> int:
    """Put in doubt what is planned or under way: by another life of this database it may have been sent
    until `at`. How many there are.
    """
    open_ones = Delivery.state.in_((DeliveryState.PLANNED, DeliveryState.CLAIMED))
    doubted = (
        update(Delivery)
        .where(open_ones)
        .values(
            state=DeliveryState.IN_DOUBT,
            asked=0,
            reason=RESTORED,
            called_at=func.coalesce(Delivery.called_at, Delivery.planned_at),
            doubted_until=at,
        )
    )
    return connection.execute(doubted).rowcount
