"""The mails that a stand-in took, in a file that outlives it."""

import json
import threading
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail that was taken; `to` is masked, `at` is aware, ISO 8601."""

    at: str
    to: str
    subject: str
    text: str
    message_id: str


class Mailbox:
    """What was taken, in memory and in a file. Safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._mails = read_mails(path)
        self._file = path.open("a", encoding="utf-8")

    def put(self, mail: Mail) -> None:
        """Keep one."""
        with self._lock:
            self._file.write(json.dumps(asdict(mail), ensure_ascii=False) + "\n")
            self._file.flush()
            self._mails.append(mail)

    def newest_first(self) -> list[Mail]:
        """All of them."""
        with self._lock:
            return self._mails[::-1]


def masked(address: str) -> str:
    """`x***@example.org`."""
    local, _, domain = address.rpartition("@")
    return f"{local[:1]}***@{domain}"


def read_mails(path: Path) -> list[Mail]:
    """What a file of mails holds; empty when there is none. A last line that is torn counts as none."""
    content = path.read_text(encoding="utf-8") if path.exists() else ""
    return [Mail(**json.loads(line)) for line in content.split("\n")[:-1] if line]
