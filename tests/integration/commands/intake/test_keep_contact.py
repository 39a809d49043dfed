"""How to reach somebody: what is given replaces what was known, where it may."""

from uuid import uuid4

import pytest

from services.intake.identity.persons import keep_contact
from services.intake.rules.submission import NamedPerson
from shared.bus.unit import unit_of
from tests.integration.commands.intake.test_register_person import contact
from tests.support.installation import Installation, id_number


@pytest.mark.parametrize(("replace", "phone"), [(True, "13900000002"), (False, "13900000001")])
def test_known_contacts_are_replaced_by_whoever_may(made: Installation, replace: bool, phone: str) -> None:
    ref = uuid4()
    for number, may in (("13900000001", True), ("13900000002", replace)):
        with unit_of(made.context("intake"), "test.contact") as unit:
            keep_contact(unit, ref, NamedPerson("丙", id_number(903_001), number), "zh-CN", replace=may)
    assert contact(made, ref, "phone") == phone
