"""Ids of facts said because of a fact: always the same for their speaker, foretold by nobody else."""

from collections import defaultdict
from uuid import UUID

from deploy.services import SERVICES
from shared.events.ids import derived_id
from tests.support.installation import GAP, Installation

FACTS_OF_ONE_CAUSE = range(1, 6)


def test_only_the_speaker_knows_beforehand_under_which_id_it_will_answer(installation: Installation) -> None:
    """Who could foretell it would say something under that id first, and the true fact would be set aside."""
    number = installation.submit(installation.citizen(GAP)).number
    installation.pump()
    installation.supply(number, "lease_contract")
    installation.pump()
    said = [
        row.event
        for service in SERVICES
        for row in installation.rows(f"SELECT event FROM {service}.outbox WHERE event ? 'causationid'")
    ]
    foretold = defaultdict(set)
    for fact in said:
        for service in SERVICES:
            secret = installation.value(f"SELECT secret FROM {service}.id_secret")
            ids = {
                str(derived_id(UUID(fact["causationid"]), fact["type"], n, secret))
                for n in FACTS_OF_ONE_CAUSE
            }
            if fact["id"] in ids:
                foretold[fact["source"].removeprefix("/onestop/")].add(service)
    assert {"materials", "approval"} <= foretold.keys()
    assert all(by == {speaker} for speaker, by in foretold.items()), foretold
