"""The published matters, as every service reads them.

A published version never changes, so each process keeps it for good; only "which version is the newest" is
asked again, at most every few seconds.
"""

import json
import threading
import time
from datetime import datetime

from sqlalchemy import Connection, Engine, text

from shared.catalogue.catalogue import UnknownMatter, UnknownMatterVersion, fingerprint
from shared.catalogue.matter import Matter
from shared.db.transaction import transaction
from shared.errors import Conflict

NEWEST_FOR_S = 5.0
"""How long a new version may stay unseen by a process that asked before, in seconds."""


class VersionFrozen(Conflict):
    """A published version would change."""

    code = "matter.version-frozen"
    title_zh = "已发布的版本不能修改，请提升版本号"
    title_en = "A published version never changes; raise the version number"


class Published:
    """Reads `onestop.matters`. Safe to use from several threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._kept: dict[tuple[str, int], Matter] = {}
        self._newest: dict[str, int] = {}
        self._newest_until = 0.0

    def get(self, code: str, version: int) -> Matter:
        """A matter in one version. Raises UnknownMatter and UnknownMatterVersion."""
        found = self._kept.get((code, version))
        return found if found is not None else self._read(code, version)

    def latest(self, code: str) -> Matter:
        """The newest version of a matter. Raises UnknownMatter."""
        version = self._newest_versions().get(code)
        if version is None:
            raise UnknownMatter
        return self.get(code, version)

    def all_latest(self) -> list[Matter]:
        """The newest version of every matter, ordered by code."""
        return [self.get(code, version) for code, version in sorted(self._newest_versions().items())]

    def _read(self, code: str, version: int) -> Matter:
        with transaction(self._engine, "matters.read") as connection:
            found = connection.execute(
                text("SELECT version, body FROM onestop.matters WHERE code = :code AND version = :version"),
                {"code": code, "version": version},
            ).one_or_none()
            known = (
                found
                or connection.execute(
                    text("SELECT 1 FROM onestop.matters WHERE code = :code LIMIT 1"), {"code": code}
                ).one_or_none()
            )
        if found is None:
            raise UnknownMatterVersion if known else UnknownMatter
        with self._lock:
            return self._kept.setdefault((code, version), Matter.model_validate_json(found.body))

    def _newest_versions(self) -> dict[str, int]:
        if time.monotonic() < self._newest_until:
            return self._newest
        asked_at = time.monotonic()
        with transaction(self._engine, "matters.read") as connection:
            rows = connection.execute(text("SELECT code, max(version) FROM onestop.matters GROUP BY code"))
            newest = {code: version for code, version in rows}
        with self._lock:
            self._newest, self._newest_until = newest, asked_at + NEWEST_FOR_S
        return newest


def publish(connection: Connection, matter: Matter, at: datetime) -> bool:
    """Publish one version; False when exactly this was published before. Raises VersionFrozen."""
    said, row = fingerprint(matter), {"code": matter.code, "version": matter.version}
    made = connection.execute(
        text(
            "INSERT INTO onestop.matters (code, version, body, fingerprint, published_at) "
            "VALUES (:code, :version, CAST(:body AS jsonb), :fingerprint, :at) "
            # Two publishers may come at once: the second waits here and then meets the first one's row.
            "ON CONFLICT (code, version) DO NOTHING RETURNING version"
        ),
        {**row, "body": _body(matter), "fingerprint": said, "at": at},
    ).one_or_none()
    if made is not None:
        return True
    before = connection.execute(
        text("SELECT fingerprint FROM onestop.matters WHERE code = :code AND version = :version"), row
    ).scalar_one()
    if before != said:
        raise VersionFrozen(detail_en=f"{matter.code} version {matter.version} is published already")
    return False


def _body(matter: Matter) -> str:
    # A JSON text inside a JSON string: jsonb sorts the keys of objects, but form fields have an order.
    return json.dumps(matter.model_dump_json(exclude_defaults=True))
