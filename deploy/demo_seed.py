"""What the demo puts into an empty installation: matters, and the certificates that the state holds."""

from collections.abc import Mapping
from datetime import date
from uuid import NAMESPACE_URL, UUID, uuid5

from deploy.catalogue import publish_matters
from deploy.demo_people import PEOPLE, DemoPerson
from services.materials.commands import NewCertificate, record_certificate
from shared.bus.unit import unit_of
from shared.catalogue.loader import BUILT_IN
from shared.context import build_context
from shared.settings import Settings

ISSUERS = {
    "id_card": "公安机关",
    "id_photo": "公安机关",
    "social_insurance_record": "人力资源和社会保障部门",
    "lease_record": "住房和城乡建设部门",
}


def publish_built_in(settings: Settings) -> None:
    """Publish every matter file that comes with onestop; what is published already stays."""
    publish_matters(settings, sorted(BUILT_IN.glob("*.yaml")))


def seed_certificates(settings: Settings, refs: Mapping[DemoPerson, UUID]) -> None:
    """Record the certificates of the demo's people; a second run records none again."""
    context = build_context(settings, "materials")
    with unit_of(context, "demo.seed") as unit:
        for person in PEOPLE:
            for type_code in person.certificates:
                key = uuid5(NAMESPACE_URL, f"{refs[person]}/{type_code}")
                record_certificate(
                    unit,
                    NewCertificate(
                        identifier=f"demo.{key}",
                        type_code=type_code,
                        holder=refs[person],
                        issuer=ISSUERS[type_code],
                        trust_level="A",
                        valid_from=date(2020, 1, 1),
                        valid_until=None,
                    ),
                )
