"""A real SMTP server in this process that does as it is told, and bare sockets for what no server does."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from deploy.processes import free_port

USER, PASSWORD = "onestop", "right"
DROP, HANG, SLOW = "drop", "hang", "slow"
"""Instead of an answer: cut the connection, say nothing until the server ends, or answer after SLOW_S."""
SLOW_S = 0.8


@dataclass
class Mailbox:
    """What the server took, and what it says at each stage instead of 250: an answer, DROP, HANG or SLOW."""

    says: dict[str, str] = field(default_factory=dict)
    """By stage: mail, rcpt, text; for the last one also by the address that the mail is for."""
    mails: list[EmailMessage] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    log_ins: int = 0

    async def handle_MAIL(
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        envelope.mail_from = address
        return await self._say("mail", server, "250 OK")

    async def handle_RCPT(
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        envelope.rcpt_tos.append(address)
        return await self._say("rcpt", server, "250 OK")

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        """The text has come. Only an answer of 2xx, or none at all, means that it was taken."""
        if self.says.get("text", "250")[0] not in "45":
            self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
            self.recipients += envelope.rcpt_tos
        address = envelope.rcpt_tos[0]
        return await self._say(address if address in self.says else "text", server, "250 OK")

    async def _say(self, stage: str, server: Any, good: str) -> str:
        said = self.says.get(stage, good)
        if said == HANG:
            await asyncio.Event().wait()
        if said == DROP:
            server.transport.abort()
        if said == SLOW:
            await asyncio.sleep(SLOW_S)
            return good
        return said

    def authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        self.log_ins += 1
        good = isinstance(data, LoginPassword) and (data.login, data.password) == (
            USER.encode(),
            PASSWORD.encode(),
        )
        return AuthResult(success=good, handled=False)


@contextmanager
def serving(mailbox: Mailbox, **options: Any) -> Iterator[int]:
    """The server on a free port of this machine, until the block ends. `options` as aiosmtpd has them."""
    # It connects to itself at the start, so the port must be known before.
    port = free_port()
    controller = Controller(mailbox, hostname="127.0.0.1", port=port, **options)
    controller.start()
    try:
        yield port
    finally:
        controller.stop()


@contextmanager
def bare(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """A listener that treats each connection so; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=_guarded, args=(talk, connection), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]


def _guarded(talk: Callable[[socket.socket], None], connection: socket.socket) -> None:
    with connection:
        try:
            talk(connection)
        except OSError:
            # Whoever spoke to us has gone, as they should.
            return


def certificate(folder: Path, *names: str) -> tuple[Path, ssl.SSLContext]:
    """A certificate that nobody but we signed, for these names: its file, and the context of a server."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "onestop tests")])
    now = datetime.now(UTC)
    others = [x509.IPAddress(ip_address(n)) if n[0].isdigit() else x509.DNSName(n) for n in names]
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(others), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    public, private = folder / "server.crt", folder / "server.key"
    public.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(public, private)
    return public, context
