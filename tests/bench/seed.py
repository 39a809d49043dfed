"""The template database: migrated, the matter published, people with certificates, one held case each."""

from datetime import date

from sqlalchemy import text

from deploy.demo_seed import ISSUERS, publish_built_in
from deploy.migrate import migrate
from services.intake.commands import Submission, submit_case
from services.intake.identity.persons import register_person
from services.intake.rules.submission import NamedPerson
from services.materials.models import Certificate
from shared.bus.unit import Unit, unit_of
from shared.catalogue.matter import Matter
from shared.context import build_context
from shared.events.ids import new_id
from tests.bench.servers import TEMPLATE, Place, Servers, tell
from tests.support.principals import VERIFIED, citizen

MATTER = "residence_permit.apply"
_CHUNK = 200
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECKS = "10X98765432"
_NAME, _PHONE = "张三", "13800138000"


def fill_template(servers: Servers, cases: int) -> None:
    """Make the template: everything up to the moment when the facts of the submissions may leave."""
    tell(f"seeding {cases} people, certificates and cases")
    servers.postgres.prepare(TEMPLATE)
    settings = servers.settings(TEMPLATE)
    migrate(settings)
    publish_built_in(settings)
    intake = build_context(settings, "intake", guarded=True)
    materials = build_context(settings, "materials", guarded=True)
    for context in (intake, materials):
        assert context.guard is not None
        context.guard.look()
    # Nobody listens yet, and the template can be copied only while nobody is connected.
    intake.hints.close()
    matter = intake.matters.latest(MATTER)
    for start in range(0, cases, _CHUNK):
        numbers = range(start, min(start + _CHUNK, cases))
        with unit_of(intake, "bench.people") as unit:
            refs = [
                register_person(unit, NamedPerson(_NAME, id_number(n), _PHONE), VERIFIED) for n in numbers
            ]
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
        with unit_of(intake, "bench.submit") as unit:
            for n in numbers:
                submit(unit, matter, n)
    with unit_of(intake, "bench.hold") as unit:
        # A mark that no relay takes for unsent: what holds the submissions back until the clock runs.
        unit.connection.execute(text("UPDATE intake.outbox SET sent_at = to_timestamp(0)"))
    for context in (intake, materials):
        context.engine.dispose()
        context.hints.engine.dispose()
    servers.postgres.psql("CREATE EXTENSION pg_stat_statements; VACUUM ANALYZE;", TEMPLATE)


def submit(unit: Unit, matter: Matter, n: int) -> str:
    """Submit a case of person `n`, in which every material is fetched; its number."""
    form = {
        "applicant": {"name": _NAME, "id_number": id_number(n), "phone": _PHONE},
        "residence": {"address": "文三路1号", "kind": "rented", "since": "2025-01-01"},
        "ground": "employment",
        "fetch_consent": True,
    }
    person = register_person(unit, NamedPerson(_NAME, id_number(n), _PHONE), VERIFIED)
    return submit_case(
        unit,
        Submission(
            matter=matter,
            form=form,
            uploads={},
            channel="web",
            client="bench",
            locale="zh-CN",
            submitter=citizen(person),
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
