"""The stand-ins as processes of ours: start them, set their faults, read their books."""

import secrets
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import httpx

from deploy.errors import NotStarted
from deploy.processes import Identity, claim_port, end, spawn, wait_until
from deploy.standins.fault_switch import Fault, Plan
from deploy.standins.ledger import Taken, read_ledger
from deploy.standins.mails import Mail, read_mails

ACCESS_KEY_ID = "standin"
SIGN_NAME = "一件事服务大厅"
_START_S = 15.0


@dataclass
class Standin(ABC):
    """One stand-in. `folder` keeps its books and its output over restarts; so does `port`, its page's.

    `run_as` None stays who we are.
    """

    folder: Path
    port: int = field(default_factory=claim_port)
    run_as: Identity | None = field(default=None, kw_only=True)
    _process: subprocess.Popen[bytes] | None = field(default=None, kw_only=True)
    name: ClassVar[str]

    @property
    def url(self) -> str:
        """Where its page is."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        """What it prints."""
        return self.folder / f"{self.name}.log"

    @abstractmethod
    def command(self) -> list[str | Path]:
        """What runs it."""

    def is_ready(self) -> bool:
        """Does it answer?"""
        try:
            return httpx.get(f"{self.url}/__healthz", timeout=1, trust_env=False).is_success
        except httpx.HTTPError:
            return False

    def launch(self) -> None:
        """Start it, without waiting for it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command = self.command()
        if self.run_as is not None:
            self.run_as.own_tree(self.folder)
        with self.log.open("ab") as output:
            self._process = spawn(
                command, output=output.fileno(), run_as=self.run_as, cwd=Path(__file__).parents[2]
            )

    def wait(self) -> None:
        """Until it answers. Raises NotStarted."""
        process = self._process
        assert process is not None
        if not wait_until(lambda: process.poll() is not None or self.is_ready(), _START_S) or process.poll():
            said = self.log.read_text(encoding="utf-8", errors="replace")[-500:]
            self.kill()
            raise NotStarted(
                f"替身 {self.name} 没有启动：{said}", f"the stand-in {self.name} did not start: {said}"
            )

    def start(self) -> None:
        """Start it and wait until it answers. Raises NotStarted."""
        self.launch()
        self.wait()

    def stop(self) -> None:
        """Ask it to end; nothing if it does not run."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """`kill -9`."""
        self._end(signal.SIGKILL)

    def _get(self, path: str) -> Any:
        return httpx.get(f"{self.url}{path}", timeout=5, trust_env=False).raise_for_status().json()

    def _end(self, sign: signal.Signals) -> None:
        if self._process is not None:
            end(self._process, sign, 5)
            self._process = None


@dataclass
class MailStandin(Standin):
    """Everybody's mailbox, behind a server that asks for neither TLS nor a password."""

    name = "mail"
    smtp_port: int = field(default_factory=claim_port)

    def environment(self) -> dict[str, str]:
        """What the channel `email` needs to use it, as variables of a process."""
        return {
            "ONESTOP_CHANNELS__EMAIL__HOST": "127.0.0.1",
            "ONESTOP_CHANNELS__EMAIL__PORT": str(self.smtp_port),
            "ONESTOP_CHANNELS__EMAIL__SECURITY": "none",
            "ONESTOP_CHANNELS__EMAIL__SENDER": "no-reply@hall.example.org",
            "ONESTOP_CHANNELS__EMAIL__SENDER_NAME": SIGN_NAME,
        }

    def command(self) -> list[str | Path]:
        """What runs it."""
        ports = ["--smtp-port", str(self.smtp_port), "--port", str(self.port)]
        return [sys.executable, "-m", "deploy.standins.mailbox", *ports, "--mails", self._mails()]

    def taken(self) -> list[Mail]:
        """Its mails, read from the file, so that it need not run."""
        return read_mails(self._mails())

    def _mails(self) -> Path:
        return self.folder / "mails.jsonl"


@dataclass
class SmsStandin(Standin):
    """An SMS gateway; beside its books it keeps its secret."""

    name = "sms"
    options: Sequence[str] = ()

    def settings(self, *, timeout_s: float = 3.0) -> dict[str, str]:
        """What the channel `sms` needs to use it."""
        return {
            "endpoint": self.url,
            "access_key_id": ACCESS_KEY_ID,
            "access_key_secret": self.secret_file().read_text(encoding="utf-8"),
            "sign_name": SIGN_NAME,
            "timeout_s": str(timeout_s),
        }

    def environment(self) -> dict[str, str]:
        """The same as variables of a process, which reads the secret from its file."""
        named = {f"ONESTOP_CHANNELS__SMS__{name.upper()}": text for name, text in self.settings().items()}
        del named["ONESTOP_CHANNELS__SMS__ACCESS_KEY_SECRET"]
        return {**named, "ONESTOP_CHANNELS__SMS__ACCESS_KEY_SECRET_FILE": str(self.secret_file())}

    def secret_file(self) -> Path:
        """The file of the access key secret, made when there is none."""
        path = self.folder / "sms.key"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            path.write_text(secrets.token_hex(16), encoding="utf-8")
        return path

    def command(self) -> list[str | Path]:
        """What runs it."""
        fixed = ["--port", str(self.port), "--access-key-id", ACCESS_KEY_ID]
        files: list[str | Path] = ["--ledger", self.folder / "sms.jsonl", "--secret-file", self.secret_file()]
        return [sys.executable, "-m", "deploy.standins.sms_gateway", *fixed, *files, *self.options]

    def plan(self, *faults: Fault, seed: int = 0) -> None:
        """Replace the faults to come; none at all makes it well again."""
        body = Plan(faults=list(faults), seed=seed).model_dump(mode="json")
        httpx.post(f"{self.url}/__faults", json=body, timeout=5, trust_env=False).raise_for_status()

    def faults_met(self) -> dict[str, int]:
        """How many requests met each kind of fault since it started."""
        met: dict[str, int] = self._get("/__faults")["met"]
        return met

    def taken(self) -> list[Taken]:
        """Its ledger, read from the file, so that it need not run."""
        return read_ledger(self.folder / "sms.jsonl")
