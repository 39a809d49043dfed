"""A notice of which nobody knows whether it arrived: people see it, ask again, or let it be."""

from datetime import timedelta

import pytest

from services.notify.channels import Told
from services.notify.rules.delivery import MAX_ASKS, SendResult
from shared.bus.trouble import TOO_LONG, TroubleNotFound
from tests.integration.notify.test_send_notice import Sending, sending
from tests.support.installation import Installation, db_installation, secrets_dir, template_settings
from tests.support.trouble import drop, retry, show, trouble_of

__all__ = ["db_installation", "secrets_dir", "sending", "template_settings"]

LONG = TOO_LONG + timedelta(minutes=1)


def put_in_doubt(db_installation: Installation, sending: Sending) -> None:
    sending.channel.answers = [Told(SendResult.UNKNOWN, "timeout") for _ in range(MAX_ASKS)]
    for _ in range(MAX_ASKS):
        sending.step()
    assert (sending.delivery().state, sending.told()) == ("in_doubt", [])
    assert db_installation.rows("SELECT state FROM notify.jobs") == [("done",)]
    db_installation.change("UPDATE notify.deliveries SET planned_at = planned_at - :long", long=LONG)


@pytest.mark.parametrize("job_is_gone", [False, True])
def test_a_delivery_in_doubt_is_asked_for_again_and_never_sent_blindly(
    db_installation: Installation, sending: Sending, job_is_gone: bool
) -> None:
    put_in_doubt(db_installation, sending)
    context = db_installation.context("notify")
    [doubt] = trouble_of(context)
    assert (doubt.kind, doubt.id) == ("delivery_in_doubt", f"notify.delivery.{sending.delivery().id}")
    assert (doubt.about or "").startswith("sms ")
    assert not {"phone", "recipient", "params"} & show(context, doubt.id).keys()
    if job_is_gone:
        db_installation.change("DELETE FROM notify.jobs")

    retry(context, doubt.id)
    sending.channel.answers = [Told(SendResult.ACCEPTED)]
    sending.step()

    assert (len(sending.channel.sent), len(sending.channel.asked)) == (1, MAX_ASKS)
    assert (sending.delivery().state, sending.told()) == ("sent", ["sent"])
    assert trouble_of(context) == []


def test_a_delivery_in_doubt_that_is_dropped_counts_as_failed(
    db_installation: Installation, sending: Sending
) -> None:
    put_in_doubt(db_installation, sending)
    context = db_installation.context("notify")
    [doubt] = trouble_of(context)
    drop(context, doubt.id)
    assert (sending.delivery().state, sending.delivery().reason) == ("failed", "given-up")
    assert sending.told() == ["failed"]
    with pytest.raises(TroubleNotFound):
        retry(context, doubt.id)


def test_what_a_provider_refuses_is_settled_and_no_trouble(
    db_installation: Installation, sending: Sending
) -> None:
    sending.channel.answers = [Told(SendResult.REFUSED, "no-such-number")]
    sending.step()
    assert (sending.delivery().state, sending.told()) == ("failed", ["failed"])
    assert trouble_of(db_installation.context("notify")) == []
