"""Forms whose session ended while they were open: kept for whoever filled them in, until they are back."""

import json
from dataclasses import asdict, dataclass, field
from uuid import UUID

from sqlalchemy import text

from shared.bus.unit import Unit
from shared.events.ids import new_id

MOST = 3
"""Forms of one session: whoever has got hold of an old cookie fills no disk."""
_TABLE = "held_forms"


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A file of a form, which lies with the one who keeps files; `name` is what its sender calls it."""

    upload: str
    name: str


@dataclass(frozen=True, slots=True)
class HeldForm:
    """What was filled in: where it was sent to, its fields, and its files by field."""

    path: str
    fields: dict[str, str]
    files: dict[str, KeptFile] = field(default_factory=dict)


def has_room(unit: Unit, session: UUID) -> bool:
    """Whether another form of this session is kept."""
    found = unit.connection.execute(
        text(f"SELECT count(*) FROM {unit.context.service}.{_TABLE} WHERE session = :session"),
        {"session": session},
    )
    return int(found.scalar_one()) < MOST


def hold_form(unit: Unit, holder: str, session: UUID, form: HeldForm) -> UUID:
    """Keep a form, sealed, for this person and nobody else; the name by which they find it."""
    row = new_id()
    sealed = unit.context.vault.seal(
        json.dumps(asdict(form), ensure_ascii=False), table=_TABLE, row=row, column="sealed"
    )
    unit.connection.execute(
        text(
            f"INSERT INTO {unit.context.service}.{_TABLE} VALUES (:id, :holder, :session, :sealed, :held_at)"
        ),
        {"id": row, "holder": holder, "session": session, "sealed": sealed, "held_at": unit.wall},
    )
    return row


def held_form(unit: Unit, holder: str, name: UUID) -> HeldForm | None:
    """What this person had filled in; None for other people's and what is there no more."""
    found = unit.connection.execute(
        text(f"SELECT sealed FROM {unit.context.service}.{_TABLE} WHERE id = :id AND holder = :holder"),
        {"id": name, "holder": holder},
    ).scalar_one_or_none()
    if found is None:
        return None
    kept = json.loads(unit.context.vault.open(found, table=_TABLE, row=name, column="sealed"))
    files = {name: KeptFile(**file) for name, file in kept["files"].items()}
    return HeldForm(kept["path"], kept["fields"], files)
