"""The civil day of the law: everything that counts days counts them in the time of Beijing."""

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

LEGAL_ZONE = ZoneInfo("Asia/Shanghai")


def legal_day(moment: datetime) -> date:
    """The date on which an aware moment falls in law."""
    return moment.astimezone(LEGAL_ZONE).date()


def until_next_day(moment: datetime) -> timedelta:
    """How long the legal day of an aware moment still lasts."""
    next_day = datetime.combine(legal_day(moment) + timedelta(days=1), time(), LEGAL_ZONE)
    return next_day - moment
