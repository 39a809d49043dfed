"""The template databases: migrated, the matter published, people with certificates, one held case each."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date

from sqlalchemy import text

from deploy.demo_seed import ISSUERS, publish_built_in
from deploy.migrate import migrate
from services.intake.commands import Submission, submit_case
from services.intake.identity.persons import register_person
from services.intake.rules.submission import NamedPerson
from services.materials.models import Certificate
from shared.bus.context import ServiceContext
from shared.bus.unit import Unit, unit_of
from shared.catalogue.matter import Matter
from shared.context import build_context
from shared.events.ids import new_id
from shared.settings import Settings
from tests.bench.servers import PEOPLE, TEMPLATE, Place, Servers, tell
from tests.support.principals import VERIFIED, citizen

MATTER = "residence_permit.apply"
MANY_PEOPLE, TINY_PEOPLE = 2000, 20
"""Who applies over HTTP, in turn; the fewer when it is only to be seen whether it runs."""
_CHUNK = 200
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECKS = "10X98765432"
_NAME = "张三"


def fill_template(servers: Servers, cases: int) -> None:
    """Make the template: everything up to the moment when the facts of the submissions may leave."""
    tell(f"seeding {cases} people, certificates and cases")
    servers.postgres.prepare(TEMPLATE)
    settings = servers.settings(TEMPLATE)
    migrate(settings)
    publish_built_in(settings)
    with _contexts(settings) as (intake, materials):
        matter = intake.matters.latest(MATTER)
        for numbers in _chunks(cases):
            register(intake, materials, numbers)
            with unit_of(intake, "bench.submit") as unit:
                for n in numbers:
                    submit(unit, matter, n)
        with unit_of(intake, "bench.hold") as unit:
            # A mark that no relay takes for unsent: what holds the submissions back until the clock runs.
            unit.connection.execute(text("UPDATE intake.outbox SET sent_at = to_timestamp(0)"))
    servers.postgres.psql("CREATE EXTENSION pg_stat_statements; VACUUM ANALYZE;", TEMPLATE)


def fill_people(servers: Servers, people: int) -> None:
    """Make the template of those who apply over HTTP themselves: people and their certificates, no case."""
    tell(f"seeding {people} people and their certificates")
    servers.postgres.prepare(PEOPLE)
    settings = servers.settings(PEOPLE)
    migrate(settings)
    publish_built_in(settings)
    with _contexts(settings) as (intake, materials):
        for numbers in _chunks(people):
            register(intake, materials, numbers)
    servers.postgres.psql("CREATE EXTENSION pg_stat_statements; VACUUM ANALYZE;", PEOPLE)


@contextmanager
def _contexts(settings: Settings) -> Iterator[tuple[ServiceContext, ServiceContext]]:
    """Intake's and materials' in this process, gone afterwards."""
    intake = build_context(settings, "intake", guarded=True)
    materials = build_context(settings, "materials", guarded=True)
    for context in (intake, materials):
        assert context.guard is not None
        context.guard.look()
    # Nobody listens yet, and the template can be copied only while nobody is connected.
    intake.hints.close()
    yield intake, materials
    for context in (intake, materials):
        context.engine.dispose()
        context.hints.engine.dispose()


def _chunks(count: int) -> Iterator[range]:
    for start in range(0, count, _CHUNK):
        yield range(start, min(start + _CHUNK, count))


def register(intake: ServiceContext, materials: ServiceContext, numbers: Sequence[int]) -> None:
    """People, and of each every certificate that the matter wants."""
    with unit_of(intake, "bench.people") as unit:
        refs = [register_person(unit, person(n), VERIFIED) for n in numbers]
    with unit_of(materials, "bench.certificates") as unit:
        unit.session.add_all(
            Certificate(
                id=new_id(),
                identifier=f"bench.{ref}.{type_code}",
                type_code=type_code,
                holder=ref,
                issuer=issuer,
                state="normal",
                trust_level="A",
                valid_from=date(2020, 1, 1),
                recorded_at=unit.wall,
            )
            for ref in refs
            for type_code, issuer in ISSUERS.items()
        )


def person(n: int) -> NamedPerson:
    """Person `n`, as forms name them."""
    return NamedPerson(_NAME, id_number(n), f"139{n:08d}")


def form_of(who: NamedPerson) -> dict[str, object]:
    """A form with which every material is fetched."""
    return {
        "applicant": {"name": who.name, "id_number": who.id_number, "phone": who.phone},
        "residence": {"address": "文三路1号", "kind": "rented", "since": "2025-01-01"},
        "ground": "employment",
        "fetch_consent": True,
    }


def submit(unit: Unit, matter: Matter, n: int) -> str:
    """Submit a case of person `n`, in which every material is fetched; its number."""
    ref = register_person(unit, person(n), VERIFIED)
    return submit_case(
        unit,
        Submission(
            matter=matter,
            form=form_of(person(n)),
            uploads={},
            channel="web",
            client="bench",
            locale="zh-CN",
            submitter=citizen(ref),
            another=True,
        ),
    ).number


def id_number(n: int) -> str:
    """The ID number of person `n`: right by its check character, and made up."""
    base = f"330106{1960 + n // 28000 % 40:04d}01{1 + n // 1000 % 28:02d}{n % 1000:03d}"
    return base + _CHECKS[sum(int(digit) * weight for digit, weight in zip(base, _WEIGHTS, strict=True)) % 11]


def held_cases(place: Place, first: int, count: int) -> list[int]:
    """The outbox ids of the held submissions, from the `first`-th on."""
    found = place.ask(
        "SELECT array_agg(id ORDER BY id) FROM (SELECT id FROM intake.outbox WHERE sent_at = to_timestamp(0) "
        "ORDER BY id OFFSET :first LIMIT :count) AS held",
        first=first,
        count=count,
    )
    return list(found[0])
