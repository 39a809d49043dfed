"""What a batch leaves behind in the inbox: what of it waits and why, for how long, and what was seen."""

import base64
import json
import random
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import structlog

from shared.bus.store import InboxState, Lying, envelope_of
from shared.bus.unit import InboxChanges, Unit
from shared.bus.wire import Unreadable, to_json
from shared.events.fact import Event

_log = structlog.get_logger()

MAX_ATTEMPTS = 5
"""A consumer does database work only, so what fails five times is a bug and waits for people, not for
time."""

_RETRY_BASE_S = 0.25
_RETRY_CAP_S = 30.0
_NOT_YET_BASE_S = 0.05
_NOT_YET_CAP_S = 300.0


class Changes:
    """Collects what a batch leaves behind, as the table takes it."""

    def __init__(self, unit: Unit, lying: Mapping[UUID, Lying]) -> None:
        self._unit = unit
        self._lying = lying
        self.told: list[tuple[str, str, str | None]] = []
        """type, state and reason of what was put into the inbox."""
        self.result = InboxChanges()

    def failed(self, event: Event, reason: str) -> None:
        """Its command raised; tried again until MAX_ATTEMPTS, then parked."""
        attempts = self._found(event.id).attempts
        if attempts + 1 >= MAX_ATTEMPTS:
            self._put(event, InboxState.PARKED, reason, attempts=attempts + 1)
            return
        due_s = (0.5 + random.random()) * min(_RETRY_CAP_S, _RETRY_BASE_S * 2**attempts)
        self._put(event, InboxState.RETRY, reason, attempts=attempts + 1, due_s=due_s)

    def not_yet(self, event: Event, awaited: str) -> None:
        """A fact of this type, which another speaker says, must come first."""
        waits = self._found(event.id).waits
        due_s = min(_NOT_YET_CAP_S, _NOT_YET_BASE_S * 2 ** min(waits, 20))
        reason = f"{awaited} must come first"
        self._put(event, InboxState.NOT_YET, reason, waits=waits + 1, due_s=due_s)

    def waiting(self, event: Event) -> None:
        """An earlier fact of the same speaker and case is missing, failed or parked."""
        reason = "an earlier fact of this speaker about the case is not handled yet"
        self._put(event, InboxState.WAITING, reason)

    def parked(self, event: Event, reason: str) -> None:
        """People must look."""
        self._put(event, InboxState.PARKED, reason)

    def suspect(self, event: Event) -> None:
        """Its process died; it is handled among a few, then alone."""
        self._put(event, InboxState.RETRY, "the process handling it died", deaths=1, due_s=0.0)

    def open_again(self, event: Event) -> None:
        """Lies waiting, and is to be looked at now."""
        self._put(event, InboxState.RETRY, None, due_s=0.0)

    def unreadable(self, one: Unreadable, me: str) -> None:
        """This release cannot read it: the payload is kept sealed until one can."""
        place = envelope_of(one)
        sealed = self._unit.context.vault.seal(
            json.dumps(one.event), table="inbox", row=place["id"], column="sealed"
        )
        self._row(
            place,
            InboxState.UNREADABLE,
            one.reason[:300],
            sealed=base64.b64encode(sealed).decode(),
            read_by=[me],
        )
        _log.warning("event_unreadable", event_id=place["id"], reason=one.reason)

    def gone(self, ids: Iterable[UUID]) -> None:
        """These rows have nothing to lie there for any more; ids without a row are let be."""
        self.result.gone.extend(one for one in ids if one in self._lying)

    def seen(self, speaker_and_id: Iterable[tuple[str, UUID]]) -> None:
        """Count what was never seen before, for the comparison with what the speaker said."""
        counts: dict[tuple[str, int], list[int]] = {}
        for speaker, fact_id in speaker_and_id:
            minute = (fact_id.int >> 80) // 60_000
            count = counts.setdefault((speaker, minute), [0, 0])
            count[0] += 1
            count[1] ^= fact_id.int & (2**64 - 1)
        for (speaker, minute), (facts, tails) in sorted(counts.items()):
            self.result.seen.append(
                {
                    "speaker": speaker,
                    "minute": datetime.fromtimestamp(minute * 60, UTC).isoformat(),
                    "facts": facts,
                    "tails": tails - 2**64 if tails >= 2**63 else tails,
                }
            )

    def _found(self, fact_id: UUID) -> Lying:
        return self._lying.get(fact_id) or Lying(fact_id, InboxState.RETRY)

    def _put(self, event: Event, state: InboxState, reason: str | None, **counts: float) -> None:
        lying = self._found(event.id)
        kept = {"attempts": lying.attempts, "waits": lying.waits, "deaths": lying.deaths}
        self._row(envelope_of(event), state, reason, event=to_json(event), **{**kept, **counts})
        self.told.append((event.type, state, reason))

    def _row(self, place: Mapping[str, Any], state: InboxState, reason: str | None, **more: Any) -> None:
        counts = {"attempts": 0, "waits": 0, "deaths": 0, "due_s": None, "event": None, "sealed": None}
        self.result.put.append({**place, "state": state, "reason": reason, **counts, **more})
