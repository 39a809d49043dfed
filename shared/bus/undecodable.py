"""Messages that are no facts: a sealed sample for people to look at, and a count of all of them.

However many there are, a batch of them is one statement, and a second of them is one line in the log at most.
"""

import json
import threading
import time
from collections import Counter
from collections.abc import Sequence

import structlog
from sqlalchemy import ARRAY, Boolean, Text, text

from shared import metrics
from shared.bus.boundary import Undecoded
from shared.bus.context import ServiceContext
from shared.db.transaction import call

_log = structlog.get_logger()

MOST_KEPT = 1000
MOST_KEPT_BYTES = 64_000_000
"""How many messages a service keeps, and how large they are together."""

_FULL_S = 60.0
_COUNT_S = 1.0
_TELL_S = 20.0


class Undecodables:
    """Keeps, counts and tells what one service could not decode."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self._keep = text(
            f"SELECT * FROM {context.service}.keep_undecodable("
            "CAST(:sha256 AS text[]), CAST(:reasons AS text[]), CAST(:sizes AS integer[]), "
            "CAST(:bodies AS bytea[]), CAST(:properties AS bytea[]), CAST(:counts AS jsonb), "
            ":most, :most_bytes)"
        ).columns(kept=ARRAY(Text), is_full=Boolean)
        self._one_at_a_time = threading.Lock()
        self._uncounted: Counter[str] = Counter()
        self._untold: Counter[str] = Counter()
        self._full_until = self._count_at = self._tell_at = 0.0

    def park(self, found: Sequence[Undecoded]) -> frozenset[str]:
        """Count these, and keep what there is room for; the hashes of those that are kept now.

        What is not kept must stay somewhere else. Raises DatabaseAway; then nothing was counted.
        """
        reasons = Counter(one.reason for one in found)
        kept = frozenset[str]()
        with self._one_at_a_time:
            if time.monotonic() >= self._full_until:
                kept = self._save(found, self._uncounted + reasons)
            else:
                self._uncounted += reasons
            self._untold += reasons
        metrics.MESSAGES_HANDLED.labels(self._context.service, "unreadable", "parked").inc(len(found))
        return kept

    def tell(self, *, at_once: bool = False) -> None:
        """Write down what was only counted in this process, and say in one line what came since the last one;
        nothing before its time, unless `at_once`. Raises DatabaseAway."""
        with self._one_at_a_time:
            now = time.monotonic()
            if self._untold and (at_once or now >= self._tell_at):
                _log.error("messages_undecodable", count=self._untold.total(), reasons=dict(self._untold))
                self._untold.clear()
                self._tell_at = now + _TELL_S
            if self._uncounted and (at_once or now >= self._count_at):
                self._count_at = now + _COUNT_S
                self._save([], self._uncounted)

    def _save(self, found: Sequence[Undecoded], counts: Counter[str]) -> frozenset[str]:
        row = call(
            self._context.engine,
            "inbox.undecodable",
            self._keep,
            {
                "sha256": [one.sha256 for one in found],
                "reasons": [one.reason for one in found],
                "sizes": [one.size for one in found],
                "bodies": [self._sealed(one, one.body, "sealed") for one in found],
                "properties": [self._sealed(one, one.properties, "sealed_properties") for one in found],
                "counts": json.dumps(counts),
                "most": MOST_KEPT,
                "most_bytes": MOST_KEPT_BYTES,
            },
        )
        self._uncounted.clear()
        if found:
            self._full_until = time.monotonic() + _FULL_S if row.is_full else 0.0
        return frozenset(row.kept or ())

    def _sealed(self, one: Undecoded, plain: bytes | None, column: str) -> bytes | None:
        if plain is None:
            return None
        return self._context.vault.seal(plain, table="undecodable", row=one.sha256, column=column)
