"""`onestop account` and `onestop session`: who comes by office, what they may do, and who is logged in."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from deploy.commands.context import DataDir, actor, contexts
from deploy.output import Json, emit_json, emit_rows, say
from deploy.settings import load_settings

if TYPE_CHECKING:
    from shared.auth.principal import PrincipalKind
    from shared.bus.context import ServiceContext

app = typer.Typer(
    no_args_is_help=True,
    help="Officers, operators, clerks and client programs: what they may do.",
    rich_markup_mode=None,
)
sessions = typer.Typer(no_args_is_help=True, help="Log-ins: end them.", rich_markup_mode=None)

Kind = Annotated[str, typer.Argument(help="officer, operator, clerk or client")]
Subject = Annotated[str, typer.Argument(help="what the identity provider calls them")]
_Codes = list[str] | None
_WITHIN = "in force everywhere within a minute"


@app.command("set")
def set_(
    kind: Kind,
    subject: Subject,
    department: Annotated[_Codes, typer.Option(help="whose tasks they work on (may be given again)")] = None,
    supervises: Annotated[_Codes, typer.Option(help="whose tasks they hand out")] = None,
    channel: Annotated[_Codes, typer.Option(help="through which they file")] = None,
    organisation: Annotated[str | None, typer.Option(help="credit code of a clerk's organisation")] = None,
    filings_a_day: Annotated[
        int | None, typer.Option(help="of a client program, where the general limit is not its own")
    ] = None,
    person: Annotated[
        bool, typer.Option("--person", help="link to a person: name and ID number, a line each on stdin")
    ] = False,
    data_dir: DataDir = None,
    json: Json = False,
) -> int:
    """Make an account, or replace all that it may do; only the link to a person stays when none is given.
    Noted with your name."""
    from services.intake import queries
    from services.intake.identity.accounts import Office, set_account
    from shared.bus.unit import unit_of

    known = _kind(kind)
    who = _read_person() if person else None
    with unit_of(_intake(data_dir), "account.set") as unit:
        before = queries.account(unit.session, known, subject)
        linked = _register(unit, *who) if who else before.person_ref if before else None
        office = Office(
            known,
            subject,
            linked,
            organisation,
            tuple(department or ()),
            tuple(supervises or ()),
            tuple(channel or ()),
            filings_a_day,
        )
        version = set_account(unit, office, actor())
    if json:
        emit_json({"kind": known, "subject": subject, "version": version, "linked": linked is not None})
    else:
        say(f"onestop: {known} {subject}, version {version}; {_WITHIN}")
    return 0


@app.command("close")
def close(kind: Kind, subject: Subject, data_dir: DataDir = None, json: Json = False) -> int:
    """Somebody leaves: their log-ins end, and nobody logs in by this account. Tasks that they have claimed
    are a supervisor's to hand out. Noted with your name."""
    from services.intake.identity.accounts import close_account
    from shared.bus.unit import unit_of

    known = _kind(kind)
    with unit_of(_intake(data_dir), "account.close") as unit:
        ended = close_account(unit, known, subject, actor())
    return _told(len(ended), json)


Program = Annotated[str, typer.Argument(help="subject of the client program's account")]


@app.command("add-key")
def add_key_(
    program: Program,
    file: Annotated[Path, typer.Argument(help="its public key, as PEM or as a JWK")],
    data_dir: DataDir = None,
    json: Json = False,
) -> int:
    """Let a client program log in by what it signs with this key. Its private key stays with it, and there is
    no shared secret. Noted with your name."""
    from services.intake.identity.client_keys import add_key, read_public_key
    from shared.bus.unit import unit_of

    key = read_public_key(file.read_bytes())
    with unit_of(_intake(data_dir), "client.add-key") as unit:
        kid = add_key(unit, program, key, actor())
    if json:
        emit_json({"program": program, "key": kid})
    else:
        say(f"onestop: {program} logs in by key {kid}")
    return 0


@app.command("remove-key")
def remove_key_(
    program: Program,
    key: Annotated[str, typer.Argument(help="as `onestop account keys` lists it")],
    data_dir: DataDir = None,
    json: Json = False,
) -> int:
    """Believe nothing any more that this key signs; the program's log-ins end. Noted with your name."""
    from services.intake.identity.client_keys import remove_key
    from shared.bus.unit import unit_of

    with unit_of(_intake(data_dir), "client.remove-key") as unit:
        ended = remove_key(unit, program, key, actor())
    return _told(len(ended), json)


@app.command("keys")
def keys(program: Program, data_dir: DataDir = None, json: Json = False) -> int:
    """The keys that a client program signs with."""
    from services.intake import queries
    from services.intake.identity.client_keys import MOST_KEYS
    from shared.bus.unit import unit_of

    with unit_of(_intake(data_dir), "client.keys") as unit:
        found = [
            {"key": one.kid, "added_at": one.added_at.isoformat(), "added_by": one.added_by}
            for one in queries.client_keys(unit.session, program, MOST_KEYS)
        ]
    if json:
        emit_json({"program": program, "keys": found})
    else:
        emit_rows(found, ["key", "added_at", "added_by"])
    return 0


@sessions.command("end")
def end(session: Annotated[UUID, typer.Argument()], data_dir: DataDir = None, json: Json = False) -> int:
    """End one log-in. Noted with your name."""
    from services.intake.identity.sessions import Why, end_session
    from shared.bus.unit import unit_of

    with unit_of(_intake(data_dir), "session.end") as unit:
        ended = end_session(unit, session, actor(), Why.ORDERED)
    return _told(len(ended), json)


@sessions.command("end-all")
def end_all(
    kind: Annotated[str, typer.Argument(help="citizen, officer, operator, clerk or client")],
    subject: Annotated[str, typer.Argument(help="a citizen's person_ref, an account's subject")],
    data_dir: DataDir = None,
    json: Json = False,
) -> int:
    """End every log-in of somebody. Noted with your name."""
    from services.intake.identity.sessions import Why, end_sessions_of
    from shared.bus.unit import unit_of

    known = _kind(kind)
    with unit_of(_intake(data_dir), "session.end") as unit:
        ended = end_sessions_of(unit, known, subject, actor(), Why.ORDERED)
    return _told(len(ended), json)


def _told(ended: int, json: bool) -> int:
    if json:
        emit_json({"ended": ended})
    else:
        say(f"onestop: {ended} log-ins ended; {_WITHIN}")
    return 0


def _kind(name: str) -> "PrincipalKind":
    from shared.auth.principal import LOG_IN_KINDS

    for kind in LOG_IN_KINDS:
        if kind == name:
            return kind
    raise typer.BadParameter(f"no kind {name}; there are {', '.join(LOG_IN_KINDS)}")


def _intake(data_dir: "Path | None") -> "ServiceContext":
    [context] = contexts(load_settings(data_dir), ("intake",))
    return context


def _read_person() -> tuple[str, str]:
    """Not as arguments: those stand in the list of processes for everybody to read."""
    name, id_number = (sys.stdin.readline().strip() for _ in range(2))
    if not name or not id_number:
        raise typer.BadParameter("--person reads two lines from standard input: the name, the ID number")
    return name, id_number


def _register(unit: object, name: str, id_number: str) -> UUID:
    from services.intake.identity.attributes import Source
    from services.intake.identity.persons import register_person
    from services.intake.rules.identity import check_id_number
    from services.intake.rules.submission import NamedPerson
    from shared.auth.principal import Assurance
    from shared.bus.unit import Unit
    from shared.legal_time import legal_day

    assert isinstance(unit, Unit)
    problem = check_id_number(id_number, legal_day(unit.legal))
    if problem is not None:
        raise typer.BadParameter(f"the ID number is wrong: {problem}")
    return register_person(unit, NamedPerson(name, id_number, None), Source("command", Assurance.VERIFIED))
