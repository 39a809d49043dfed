"""What intake does besides when its database was brought back from an older copy."""

from collections.abc import Collection

from sqlalchemy import Connection, text

from services.intake.rules.case_number import SERIALS, serial_of


def skip_serials(connection: Connection, numbers: Collection[str]) -> None:
    """Go on after the serials of these cases, which were given out after the copy that the database is."""
    given = connection.execute(
        text("SELECT COALESCE(pg_sequence_last_value('intake.case_serial'), 0)")
    ).scalar_one()
    ahead = max(((serial_of(number) - given) % SERIALS for number in numbers), default=0)
    # More than half of the circle ahead is behind.
    if 0 < ahead < SERIALS // 2:
        connection.execute(text("SELECT setval('intake.case_serial', :to)"), {"to": given + ahead})
