"""What a stand-in took, in a file that outlives it: the witness that says who was told twice."""

import hashlib
import hmac
import json
import os
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

BEIJING = timezone(timedelta(hours=8))


@dataclass(frozen=True, slots=True)
class Taken:
    """One accepted message. The phone is kept as a keyed hash only; `at` is aware, ISO 8601."""

    out_id: str
    phone_hash: str
    template: str
    params: dict[str, str]
    biz_id: str
    at: str

    @property
    def day(self) -> date:
        """The day in Beijing under which the gateway files it."""
        return datetime.fromisoformat(self.at).astimezone(BEIJING).date()


class Ledger:
    """JSON lines, one a message, on disk before anybody is told. Safe to use from several threads.

    The last line of a killed predecessor may be torn; it was never answered, so it is cut off.
    """

    def __init__(self, path: Path, *, key: str) -> None:
        self._key = key.encode()
        self._lock = threading.Lock()
        self._taken: list[Taken] = []
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self._taken.extend(_parsed(_cut_torn_line(self._file)))

    def take(self, *, out_id: str, phone: str, template: str, params: dict[str, str], at: datetime) -> Taken:
        """Write one message down; back only when it is on disk."""
        with self._lock:
            biz_id = f"{int(at.timestamp() * 1000)}{len(self._taken):06d}^0"
            taken = Taken(out_id, self.phone_hash(phone), template, params, biz_id, at.isoformat())
            line = json.dumps(asdict(taken), ensure_ascii=False) + "\n"
            _write_all(self._file, line.encode())
            os.fsync(self._file)
            self._taken.append(taken)
        return taken

    def all(self) -> Sequence[Taken]:
        """Everything taken so far, the oldest first."""
        with self._lock:
            return tuple(self._taken)

    def of_key(self, out_id: str) -> Taken | None:
        """The first message with this key."""
        return next((taken for taken in self.all() if taken.out_id == out_id), None)

    def phone_hash(self, phone: str) -> str:
        """Phones can be guessed, so a hash without a key would not hide them."""
        return hmac.new(self._key, phone.encode(), hashlib.sha256).hexdigest()


def read_ledger(path: Path) -> list[Taken]:
    """What a ledger file holds, read by somebody else than its owner; empty when there is no file."""
    content = path.read_bytes() if path.exists() else b""
    return _parsed(content[: content.rfind(b"\n") + 1])


def _parsed(whole: bytes) -> list[Taken]:
    # By "\n" alone: splitlines knows more line ends, which may stand inside a text.
    return [Taken(**json.loads(line)) for line in whole.split(b"\n") if line]


def _cut_torn_line(file: int) -> bytes:
    content = b""
    while chunk := os.read(file, 1 << 20):
        content += chunk
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        os.ftruncate(file, len(whole))
        os.fsync(file)
    return whole


def _write_all(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]
