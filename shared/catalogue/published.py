"""The published matters, as every service reads them.

A published version never changes, so each process keeps it for good; only "which version is the newest" is asked
again, at most every few seconds.
"""

import threading
import time
from datetime import datetime

from sqlalchemy import Connection, Engine, text

from shared.catalogue.catalogue import UnknownMatter, UnknownMatterVersion, fingerprint
from shared.catalogue.matter import Matter
from shared.db.transaction import transaction
from shared.errors import Conflict

_NEWEST_FOR_S = 5.0


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
        self._newest: dict[str, tuple[int, float]] = {}

    def get(self, code: str, version: int) -> Matter:
        """A matter in one version. Raises UnknownMatter and UnknownMatterVersion."""
        found = self._kept.get((code, version))
        return found if found is not None else self._read(code, version)

    def latest(self, code: str) -> Matter:
        """The newest version of a matter. Raises UnknownMatter."""
        version, until = self._newest.get(code, (0, 0.0))
        if time.monotonic() >= until:
            version = self._read_newest(code)
            self._newest[code] = (version, time.monotonic() + _NEWEST_FOR_S)
        return self.get(code, version)

    def all_latest(self) -> list[Matter]:
        """The newest version of every matter, ordered by code."""
        with transaction(self._engine, "matters.read") as connection:
            found = connection.execute(text("SELECT DISTINCT code FROM onestop.matters ORDER BY code"))
            codes = list(found.scalars())
        return [self.latest(code) for code in codes]

    def _read(self, code: str, version: int) -> Matter:
        with transaction(self._engine, "matters.read") as connection:
            body = connection.execute(
                text("SELECT body FROM onestop.matters WHERE code = :code AND version = :version"),
                {"code": code, "version": version},
            ).scalar_one_or_none()
        if body is None:
            self._read_newest(code)
            raise UnknownMatterVersion
        with self._lock:
            return self._kept.setdefault((code, version), Matter.from_dict(body))

    def _read_newest(self, code: str) -> int:
        with transaction(self._engine, "matters.read") as connection:
            newest = connection.execute(
                text("SELECT max(version) FROM onestop.matters WHERE code = :code"), {"code": code}
            ).scalar_one()
        if newest is None:
            raise UnknownMatter
        return int(newest)


def publish(connection: Connection, matter: Matter, at: datetime) -> bool:
    """Publish one version; False when exactly this was published before. Raises VersionFrozen."""
    said = fingerprint(matter)
    before = connection.execute(
        text("SELECT fingerprint FROM onestop.matters WHERE code = :code AND version = :version FOR UPDATE"),
        {"code": matter.code, "version": matter.version},
    ).scalar_one_or_none()
    if before is not None:
        if before != said:
            raise VersionFrozen(detail_en=f"{matter.code} version {matter.version} is published already")
        return False
    connection.execute(
        text(
            "INSERT INTO onestop.matters (code, version, body, fingerprint, published_at) "
            "VALUES (:code, :version, CAST(:body AS jsonb), :fingerprint, :at)"
        ),
        {
            "code": matter.code,
            "version": matter.version,
            "body": _json(matter),
            "fingerprint": said,
            "at": at,
        },
    )
    return True


def _json(matter: Matter) -> str:
    return matter.model_dump_json(exclude_defaults=True)
