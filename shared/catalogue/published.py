"""The published matters, as every service reads them.

A published version never changes, so each process keeps it for good; only "which version is the newest" is
asked again, of each matter at most every few seconds.
"""

import hashlib
import json
import threading
import time
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, Row, text

from shared.catalogue.matter import Matter
from shared.db.transaction import transaction
from shared.errors import Conflict, NotFound

NEWEST_FOR_S = 5.0
"""How long a new version may stay unseen by a process that asked before, in seconds."""

Version = tuple[str, int]
"""Code and version of a matter."""

_NEWEST = text(
    "SELECT code, max(version) AS version FROM onestop.matters WHERE code = ANY(:codes) GROUP BY code"
)
_PAGE = text(
    "SELECT code, max(version) AS version FROM onestop.matters WHERE code > :after GROUP BY code "
    "ORDER BY code LIMIT :most"
)
_BODIES = text(
    "SELECT w.code, w.version, m.body, "
    "EXISTS (SELECT 1 FROM onestop.matters AS o WHERE o.code = w.code) AS known "
    "FROM unnest(CAST(:codes AS text[]), CAST(:versions AS integer[])) AS w (code, version) "
    "LEFT JOIN onestop.matters AS m ON m.code = w.code AND m.version = w.version"
)


class UnknownMatter(NotFound):
    """No matter has this code."""

    code = "matter.unknown"
    title_zh = "没有这个事项"
    title_en = "There is no such matter"


class UnknownMatterVersion(UnknownMatter):
    """The matter exists, this version of it does not."""

    code = "matter.version-unknown"
    title_zh = "该事项没有这个版本"
    title_en = "The matter has no such version"


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
        self._kept: dict[Version, Matter] = {}
        self._newest: dict[str, tuple[int, float]] = {}
        """Code -> newest version, and until when on the monotonic clock nobody need ask again."""

    def get(self, code: str, version: int) -> Matter:
        """A matter in one version. Raises UnknownMatter and UnknownMatterVersion."""
        found = self._kept.get((code, version))
        return found if found is not None else self.get_all({(code, version)})[code, version]

    def get_all(self, versions: Collection[Version]) -> dict[Version, Matter]:
        """Several, with at most one query for those that this process has not met. Raises as `get`."""
        missing = sorted({version for version in versions if version not in self._kept})
        if missing:
            self._read(missing)
        return {version: self._kept[version] for version in versions}

    def latest(self, code: str) -> Matter:
        """The newest version of a matter. Raises UnknownMatter."""
        found = self.latest_of({code}).get(code)
        if found is None:
            raise UnknownMatter
        return found

    def latest_of(self, codes: Collection[str]) -> dict[str, Matter]:
        """The newest version of each of these matters that is there, by code."""
        asked_at = time.monotonic()
        stale = sorted({code for code in codes if self._newest.get(code, (0, 0.0))[1] <= asked_at})
        if stale:
            with transaction(self._engine, "matters.read") as connection:
                self._keep_newest(connection.execute(_NEWEST, {"codes": stale}), asked_at)
        versions = {code: self._newest[code][0] for code in codes if code in self._newest}
        matters = self.get_all(set(versions.items()))
        return {code: matters[code, version] for code, version in versions.items()}

    def page(self, after: str | None, limit: int) -> list[Matter]:
        """The newest version of each matter, ordered by code, those behind `after`: a page and one."""
        asked_at = time.monotonic()
        with transaction(self._engine, "matters.read") as connection:
            rows = connection.execute(_PAGE, {"after": after or "", "most": limit + 1})
            versions = self._keep_newest(rows, asked_at)
        matters = self.get_all(versions)
        return [matters[version] for version in versions]

    def _keep_newest(self, rows: Iterable[Row[Any]], asked_at: float) -> list[Version]:
        found = [(row.code, row.version) for row in rows]
        with self._lock:
            for code, version in found:
                self._newest[code] = version, asked_at + NEWEST_FOR_S
        return found

    def _read(self, versions: Sequence[Version]) -> None:
        codes, numbers = [code for code, _ in versions], [number for _, number in versions]
        with transaction(self._engine, "matters.read") as connection:
            rows = connection.execute(_BODIES, {"codes": codes, "versions": numbers}).all()
        for row in rows:
            if row.body is not None:
                matter = Matter.model_validate_json(row.body)
                with self._lock:
                    self._kept.setdefault((row.code, row.version), matter)
        unknown = [row for row in rows if row.body is None]
        if unknown:
            raise UnknownMatterVersion if unknown[0].known else UnknownMatter


def fingerprint(matter: Matter) -> str:
    """SHA-256 (hex) of the canonical JSON: equal matters are equal here, whatever the layout of the file."""
    # Without defaults, so that a later release with a new optional key finds published versions unchanged.
    said = matter.model_dump(mode="json", exclude_defaults=True)
    canonical = json.dumps(said, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


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
