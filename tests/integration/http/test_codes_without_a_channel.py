"""One-time codes are on, and nothing can send them: operators are told, and people are offered none."""

import pytest
from pydantic import SecretStr

from deploy.doctor import _codes
from deploy.errors import CodesWithoutChannel
from deploy.settings import check_codes
from shared.ask import PeerUnavailable
from tests.integration.http.conftest import CODES
from tests.support.contacts import can_send_codes
from tests.support.hall import Hall, Headers, hidden_field, keyed, problem, session, untouched

SMS = {
    "endpoint": SecretStr("https://sms.example.org"),
    "access_key_id": SecretStr("id"),
    "access_key_secret": SecretStr("secret"),
    "sign_name": SecretStr("hall"),
}
PHONE = {"kind": "phone", "value": "13900002222"}


def somebody(hall: Hall) -> Headers:
    _, headers = hall.citizen()
    return headers


def test_a_kind_that_nothing_reaches_is_not_offered_and_not_taken(fresh_hall: Hall) -> None:
    headers = somebody(fresh_hall)
    can_send_codes(fresh_hall.installation, "email")
    page = fresh_hall.client.get("/contacts", headers=session(headers)).text
    assert "目前不能发送验证码：手机" in page
    assert '<input type="hidden" name="kind" value="email">' in page
    with untouched(fresh_hall):
        refused = fresh_hall.client.post("/api/v1/contacts", headers=keyed(headers), json=PHONE)
    assert problem(refused) == (409, "contact.kind-not-verified")
    field = hidden_field(fresh_hall, "/contacts", session(headers))
    form = {**PHONE, "csrf_token": field, "idempotency_key": "k" * 36}
    sent = fresh_hall.client.post("/contacts", headers=session(headers), data=form)
    assert sent.status_code == 409
    assert fresh_hall.installation.value("SELECT count(*) FROM notify.jobs") == 0


def test_without_any_channel_there_is_no_form(fresh_hall: Hall) -> None:
    can_send_codes(fresh_hall.installation)
    page = fresh_hall.client.get("/contacts", headers=session(somebody(fresh_hall))).text
    assert 'action="/contacts"' not in page


def test_another_code_is_not_sent_where_the_channel_has_gone(fresh_hall: Hall) -> None:
    headers = somebody(fresh_hall)
    made = fresh_hall.client.post("/api/v1/contacts", headers=keyed(headers), json=PHONE).json()
    can_send_codes(fresh_hall.installation, "email")
    again = fresh_hall.client.post(f"/api/v1/contacts/{made['id']}/code", headers=keyed(headers))
    assert problem(again) == (409, "contact.kind-not-verified")


def test_what_one_has_is_shown_while_notify_cannot_be_asked(
    fresh_hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> object:
        raise PeerUnavailable

    headers = somebody(fresh_hall)
    monkeypatch.setattr("shared.ask.Asker.ask", away)
    page = fresh_hall.client.get("/contacts", headers=session(headers))
    assert page.status_code == 200
    assert "139****" in page.text or "还没有联系方式" in page.text
    assert "目前不能发送验证码" in page.text


def test_the_doctor_and_the_check_of_settings_name_it(fresh_hall: Hall) -> None:
    settings = fresh_hall.installation.settings.model_copy(update={"identity": CODES})
    can_send_codes(fresh_hall.installation, "email")
    found = _codes(settings)
    assert (found.check, found.ok) == ("one-time codes", False)
    assert found.found == "settings.codes-without-channel: phone"
    assert "ONESTOP_CHANNELS__" in found.fix
    can_send_codes(fresh_hall.installation, "email", "phone")
    assert _codes(settings).ok
    with pytest.raises(CodesWithoutChannel) as refused:
        check_codes(settings.model_copy(update={"channels": {"sms": SMS}}))
    assert refused.value.detail_en.startswith("email: ")
    only_phone = {"one_time_code": {"kinds": SecretStr("phone")}}
    check_codes(settings.model_copy(update={"channels": {"sms": SMS}, "identity": only_phone}))
    check_codes(settings.model_copy(update={"identity": {}}))
