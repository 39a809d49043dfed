"""`onestop restored`: go on after a database was brought back from an older copy."""

from typing import TYPE_CHECKING, Annotated

import typer

from deploy.commands.context import DataDir, Services, choose_services
from deploy.output import Json, emit_json, emit_rows, say
from deploy.settings import load_settings

if TYPE_CHECKING:
    from deploy.restored import Restored


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("restored")(restored)


def restored(
    service: Services = None,
    settled: Annotated[
        list[str] | None,
        typer.Option(
            "--settled", help="people have looked at what was lost of this case: it may go on (again)"
        ),
    ] = None,
    heard: Annotated[
        bool,
        typer.Option(
            "--heard",
            help="people have looked: the service did say what others heard, though its witness saw nothing",
        ),
    ] = False,
    data_dir: DataDir = None,
    json: Json = False,
) -> int:
    """After a service's database was brought back from a copy: jump past every number that was given out or
    heard, begin a new epoch, and list what is lost. Safe to run again."""
    import sys

    from deploy.restored import restored as bring_up
    from deploy.restored import settle
    from shared.log import configure

    settings, services = load_settings(data_dir), choose_services(service)
    configure(settings, service="restored", stream=sys.stderr)
    if settled:
        if len(services) != 1:
            raise typer.BadParameter("--settled needs the one --service whose acts were lost")
        settled_facts = {case: settle(settings, services[0], case) for case in settled}
        emit_json({"settled": settled_facts}) if json else say(
            *(f"onestop: {case} may go on" for case in settled)
        )
        return 0
    found = [bring_up(settings, name, heard=heard) for name in services]
    if json:
        emit_json({"restored": [one.as_dict() for one in found]})
        return 0
    emit_rows(
        [
            {"service": one.service, "case": fact.case, "sequence": fact.sequence, "fact": fact.fact}
            for one in found
            for fact in one.facts
            if not fact.settled
        ],
        ["service", "case", "sequence", "fact"],
    )
    for one in found:
        _tell(one)
    return 0


def _tell(one: "Restored") -> None:
    for number, count in one.apart.items():
        say(
            f"onestop: {one.service}: {count} facts about {number} lie with others and follow nothing "
            "that was heard; see `onestop trouble list`"
        )
    if one.never_said:
        say(
            f"onestop: {one.service}: others heard {one.never_said} facts that this service never said; "
            "see docs/runbook.md, facts-never-said, before you run this with --heard"
        )
    if not one.differs:
        say(f"onestop: {one.service}: the database is what its witness saw")
        return
    counts = ", ".join(f"{count} {kind}" for kind, count in one.as_dict()["counts"].items())
    say(f"onestop: {one.service}: lost or in doubt: {counts}")
    for name, (first, last) in one.serials.items():
        say(f"onestop: {one.service}: {name} {first} to {last} may have been given out, and are not again")
    for number in one.cases:
        say(f"onestop: {one.service}: case {number} was answered and is lost")
    if one.on_the_way:
        say(
            f"onestop: {one.service}: {one.on_the_way} messages are still on their way to the others; "
            "when they are handled run this again with --heard"
        )
