"""回避: nobody handles, or reads at their desk, a case in which they have an interest of their own."""

from collections.abc import Collection
from uuid import UUID

from services.approval.errors import OfficerNotLinked, OwnCase


def check_recusal(person: UUID | None, parties: Collection[str], *, asked: bool) -> None:
    """Look at who an officer is, against everybody whom the application speaks of (公务员法 art. 76).

    `asked`: the matter asks for it, so that of whom we do not know who they are nobody can say it. Raises
    OwnCase, OfficerNotLinked.
    """
    if person is None:
        if asked:
            raise OfficerNotLinked
    elif str(person) in parties:
        raise OwnCase
