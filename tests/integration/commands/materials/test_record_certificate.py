"""A certificate that another authority issued is kept once, by its identifier."""

from datetime import date
from uuid import uuid4

from services.materials.commands import NewCertificate, record_certificate
from shared.bus.unit import unit_of
from tests.support.commands import row
from tests.support.installation import Installation


def record(made: Installation, new: NewCertificate) -> bool:
    with unit_of(made.context("materials"), "test.record") as unit:
        return record_certificate(unit, new)


def test_it_is_kept_whole_and_once(made: Installation) -> None:
    new = NewCertificate(
        f"test.{uuid4()}", "lease_record", uuid4(), "住建局", "B", date(2024, 1, 1), date(2027, 1, 1)
    )
    assert record(made, new) is True
    other = NewCertificate(new.identifier, "id_card", uuid4(), "公安机关", "A", None, None)
    assert record(made, other) is False
    found = row(made, "materials.certificates", identifier=new.identifier)
    assert (found.type_code, found.holder, found.issuer) == (new.type_code, new.holder, new.issuer)
    assert (found.state, found.trust_level, found.case_no) == ("normal", "B", None)
    assert (found.valid_from, found.valid_until) == (new.valid_from, new.valid_until)
