"""What each section of the settings holds: names, units, limits and defaults. `settings` reads them."""

from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network

from pydantic import BaseModel, ConfigDict, Field

MIB = 1024 * 1024
_SESSIONS_BESIDE = 3


class Section(BaseModel):
    """Base of every section: unknown names are refused, and no message repeats a value."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class DbSettings(Section):
    """Where PostgreSQL is. Passwords lie in `secrets_dir`, each with the service whose role it is."""

    host: str = Field(description="host name, or the directory of a unix socket", examples=["db.example.org"])
    port: int = Field(default=5432, ge=1, le=65535, description="port number")
    name: str = Field(default="onestop", min_length=1, description="database name")
    admin_user: str = Field(
        default="onestop_admin", description="role that creates schemas and roles (migrate only)"
    )
    direct_host: str | None = Field(
        default=None,
        description="PostgreSQL's own host, where `host` is a pooler: for hints and migrations",
        examples=["postgres.example.org"],
    )
    direct_port: int | None = Field(
        default=None, ge=1, le=65535, description="port of `direct_host`; `port` when absent"
    )
    connect_timeout_s: int = Field(default=2, ge=1, le=60, description="seconds to wait for a connection")


Network = IPv4Network | IPv6Network


class ForwardedBy(StrEnum):
    """How proxies say who sent a request. One only: the other may have come from the client."""

    X_FORWARDED_FOR = "X-Forwarded-For"
    FORWARDED = "Forwarded"


class WebSettings(Section):
    """The HTTP edge."""

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8600, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    internal_host: str = Field(
        default="127.0.0.1", description="address of /internal, /readyz and /metrics; never a public one"
    )
    internal_port: int = Field(
        default=8601, ge=0, le=65535, description="port of /internal, /readyz and /metrics"
    )
    sockets: tuple[int, int] | None = Field(
        default=None,
        description="file descriptors of two sockets that listen already, public and internal, which several "
        "web processes share; never set by hand",
    )
    max_upload_bytes: int = Field(
        default=10 * MIB, ge=1, description="largest request body with files, in bytes; others take 64 kB"
    )
    hosts: tuple[str, ...] = Field(
        default=("localhost", "127.0.0.1", "[::1]"),
        min_length=1,
        description="names that browsers may know us by, as in the Host header, without a port",
        examples=['["hall.example.org"]'],
    )
    trusted_proxies: tuple[Network, ...] = Field(
        default=(),
        description="networks of the proxies in front, which are believed about who sent a request; none by "
        "default",
        examples=['["10.1.2.0/24"]'],
    )
    forwarded_by: ForwardedBy = Field(
        default=ForwardedBy.X_FORWARDED_FOR,
        description="the header in which those proxies say it: the one that they write themselves",
    )
    connections_per_network: int = Field(
        default=100,
        ge=1,
        description="open connections of one IPv4 address or IPv6 /64 with a process; those of trusted "
        "proxies do not count",
    )
    at_once: int = Field(
        default=8,
        ge=1,
        le=100,
        description="requests that a process works on at once, each with a thread and a database session of "
        "its own; others wait in order, for 5 s at most",
    )
    cookie_secure: bool = Field(
        default=True, description="false only where browsers come without TLS (demo, tests)"
    )

    @property
    def questions_at_once(self) -> int:
        """What other services ask is not held up by what people ask."""
        return max(2, self.at_once // 2)

    @property
    def sessions(self) -> int:
        """Sessions with the database that a process needs for each of its services: one for each request,
        and for readiness, for the watch over the witness and for a matter that is read meanwhile."""
        return self.at_once + self.questions_at_once + _SESSIONS_BESIDE


class LimitSettings(Section):
    """How often something may be done in one legal day: by whoever does it, about whom, to which number.

    They are counted in the database, so they hold over processes and restarts.
    """

    filings_by_citizen: int = Field(default=20, ge=0, description="applications that one citizen sends")
    filings_by_operator: int = Field(default=300, ge=0, description="applications that one operator sends")
    filings_by_program: int = Field(default=20_000, ge=0, description="applications that one program sends")
    filings_in_a_matter: int = Field(
        default=10, ge=0, description="applications that one citizen sends in one matter"
    )
    filings_for_another: int = Field(
        default=3, ge=0, description="applications that one citizen sends about one other person"
    )
    filings_about_one: int = Field(
        default=10, ge=0, description="applications about one person that others send, all of them together"
    )
    filings_with_a_number: int = Field(
        default=10,
        ge=0,
        description="applications that name one phone number or e-mail address of anybody but the sender",
    )
    unasked_notices: int = Field(
        default=5,
        ge=0,
        description="messages to one number or address about cases in which its holder did nothing",
    )


class WorkerSettings(Section):
    """The consumers."""

    batch: int = Field(default=100, ge=1, le=1000, description="facts in one transaction at most")
    prefetch: int = Field(default=20, ge=1, le=2000, description="messages at hand at most")
    drain_s: float = Field(
        default=25.0, gt=0, le=600, description="seconds to finish what is in flight at the end"
    )
    health_port: int | None = Field(
        default=None, ge=0, le=65535, description="port of /healthz, /readyz and /metrics"
    )
