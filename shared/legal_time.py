"""The civil day of the law: everything that counts days counts them in the time of Beijing."""

from datetime import date, datetime
from zoneinfo import ZoneInfo

LEGAL_ZONE = ZoneInfo("Asia/Shanghai")


def legal_day(moment: datetime) -> date:
    """The date on which an aware moment falls in law."""
    return moment.astimezone(LEGAL_ZONE).date()
