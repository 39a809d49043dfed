"""What pages are given, in the shapes that the views of intake and approval make."""

from dataclasses import replace
from datetime import UTC, date, datetime
from functools import cache
from typing import Any
from uuid import UUID

from services.intake import view
from services.intake.consent_pages import Noting
from services.intake.identity.contacts import Contact
from services.intake.identity.development import PEOPLE, WAY
from services.intake.identity.provider import Way
from services.intake.models import TimelineEntry
from services.intake.rules.consent import ProxyDocument
from services.intake.rules.contacts import ContactKind
from services.intake.rules.stages import Standing, stages_of
from shared.auth.principal import Assurance, Principal, PrincipalKind
from shared.bus.held_forms import HeldForm, KeptFile
from shared.catalogue.loader import BUILT_IN, load_matter
from shared.catalogue.matter import Matter
from shared.http.locale import Locale
from shared.http.problem_pages import grouped
from shared.http.problems import Problem, ProblemField

NUMBER = "330106261123000001X"
TODAY = date(2026, 11, 24)
CITIZEN = Principal(PrincipalKind.CITIZEN, "c", person_ref=UUID(int=1), name="演示甲")
OFFICER = Principal(PrincipalKind.OFFICER, "officer-1", departments=("xihu-police",), name="1号工作人员")
OPERATOR = Principal(
    PrincipalKind.OPERATOR, "counter-1", channels=("counter",), acting_for=UUID(int=1), name=""
)
GIVEN = ("stands", "withdrawn", "replaced", "over")
WAYS = [WAY, Way("/log-in/elsewhere", "统一身份认证", "Single sign-on")]

WRONG_FILE = Problem(
    422,
    "request.invalid",
    "Not valid",
    "",
    Locale.EN,
    "0af7651916cd43dd8448eb211c80319c",
    fields=(ProblemField("/uploads/photo", "field.missing", "choose a file"),),
)

WRONG_FIELD = replace(WRONG_FILE, fields=(ProblemField("/number", "field.missing", "write the number"),))
WRONG_PROXY = replace(
    WRONG_FILE,
    fields=tuple(
        ProblemField(f"/{name}", "field.missing", f"say the {name}")
        for name in ("holder_role", "document", "reference")
    ),
)

WRONG_NUMBER = replace(WRONG_FILE, fields=(ProblemField("/id_number", "wrong", "this number is wrong"),))

WRONG_VALUE = replace(WRONG_FILE, fields=(ProblemField("/value", "email.invalid", "this is no address"),))
WRONG_CODE = replace(WRONG_FILE, fields=(ProblemField("/code", "code.wrong", "this is not the code"),))
_SINCE = "2026-11-23T01:15:00+00:00"
CONTACTS = [
    Contact(
        id=str(UUID(int=n)),
        kind=kind,
        shown=shown,
        source=source,
        assurance=assurance,
        added_at=_SINCE,
        verified_at=None if assurance is Assurance.CLAIMED else _SINCE,
        used=used,
        removable=assurance is not Assurance.VERIFIED,
    )
    for n, (kind, shown, source, assurance, used) in enumerate(
        (
            (ContactKind.PHONE, "138****5678", "person", Assurance.CLAIMED, False),
            (ContactKind.PHONE, "139****0001", "one_time_code", Assurance.REACHED, True),
            (ContactKind.PHONE, "137****0002", "openid_connect", Assurance.VERIFIED, False),
            (ContactKind.EMAIL, "a****@example.org", "one_time_code", Assurance.REACHED, True),
        )
    )
]
"""One in each state."""


@cache
def matter() -> Matter:
    return load_matter(BUILT_IN / "residence_permit.apply.yaml")


def entry(at: str, service: str, fact: str, **details: Any) -> dict[str, Any]:
    noted = TimelineEntry(at=datetime.fromisoformat(at), service=service, fact=fact, details=details)
    return view.timeline_line(noted, matter())


WAITS = Standing(
    stage="verify",
    outcome=None,
    received_at=datetime(2026, 11, 23, 1, 15, tzinfo=UTC),
    accepted_at=datetime(2026, 11, 23, 1, 15, 2, tzinfo=UTC),
    decided_at=None,
    closed_at=None,
)
"""A case in its first step."""
ENDED = replace(WAITS, decided_at=WAITS.received_at, closed_at=WAITS.received_at, stage=None)
KEPT = HeldForm("/cases/1/supply", {}, {"file.residence_proof": KeptFile("1", "lease.pdf")})
CERTIFICATE = {
    "identifier": "1.2.156.3005.2.11330106MB0A000108001.11330106MB0A000108.20261124000001.001.X",
    "state": "normal",
    "valid_from": "2026-11-24",
    "valid_until": None,
}
MESSAGES = [
    {
        "title": "Your certificate is issued",
        "body": "The electronic certificate of this case is issued.",
        "sent_at": "2026-11-24T02:00:03+00:00",
    }
]


def stages(standing: Standing) -> list[dict[str, Any]]:
    """The stages of a case that stands so."""
    return [view.stage_line(stage, matter()) for stage in stages_of(matter(), {}, standing)]


def case(**changes: Any) -> dict[str, Any]:
    """A case under review, everything matched."""
    found = matter()
    names = {code: found.names_of_requirement(code) for code in ("id_card", "photo", "residence_proof")}
    base: dict[str, Any] = {
        "number": NUMBER,
        "matter": found.code,
        "matter_version": found.version,
        "matter_zh": found.names.zh,
        "matter_en": found.names.en,
        "channel": "web",
        "state": "under_review",
        "outcome": None,
        "received_at": "2026-11-23T01:15:00+00:00",
        "decided_at": None,
        "closed_at": None,
        "accepted_at": "2026-11-23T01:15:02+00:00",
        "legal_due_at": "2026-12-14T15:59:59+00:00",
        "promised_due_at": "2026-11-30T15:59:59+00:00",
        "provisional": True,
        "visits": 0,
        "stage": "verify",
        "stage_zh": "核查",
        "stage_en": "Verification",
        "department": "xihu-community",
        "department_zh": found.departments["xihu-community"].names.zh,
        "department_en": found.departments["xihu-community"].names.en,
        "asked": [],
        "materials": [
            {
                "material": code,
                "outcome": outcome,
                "source": source,
                "name_zh": names[code].zh,
                "name_en": names[code].en,
            }
            for code, outcome, source in (
                ("id_card", "matched", "certificate"),
                ("photo", "self_provided", "upload"),
                ("residence_proof", "self_provide", None),
            )
        ],
        "timeline": [
            entry("2026-11-23T01:15:00+00:00", "intake", "case-submitted", channel="web"),
            entry("2026-11-23T01:15:01+00:00", "materials", "materials-matched", gaps=[]),
            entry(
                "2026-11-23T01:15:02+00:00",
                "approval",
                "case-accepted",
                promised_due_at="2026-11-30T15:59:59+00:00",
            ),
            entry(
                "2026-11-23T01:15:03+00:00",
                "approval",
                "case-routed",
                step="verify",
                department="xihu-community",
            ),
            entry(
                "2026-11-23T01:15:04+00:00",
                "notify",
                "notice-sent",
                template="case-accepted",
                channel="sms",
                status="sent",
            ),
        ],
        "awaiting_check": False,
        "stages": stages(WAITS),
        "timeline_is_newest": True,
        "timeline_next": None,
        "notified": [],
        "remedies": None,
        "reasons": [],
    }
    return {**base, **changes}


def issued_case() -> dict[str, Any]:
    """An approved and closed case."""
    decided = "2026-11-24T02:00:00+00:00"
    return case(
        state="approved",
        outcome="approved",
        decided_at=decided,
        closed_at=decided,
        stage=None,
        department=None,
        stages=stages(replace(ENDED, outcome="approved")),
    )


def asked_case() -> dict[str, Any]:
    """A case that waits for two materials, one of them one of several."""
    found = matter()
    asked = [
        {
            "material": code,
            "name_zh": found.names_of_requirement(code).zh,
            "name_en": found.names_of_requirement(code).en,
            "uploads": list(uploads),
        }
        for code, uploads in (
            ("photo", ["photo"]),
            ("residence_proof", ["lease_contract", "employer_housing_statement"]),
        )
    ]
    line = entry(
        "2026-11-23T01:15:02+00:00", "approval", "correction-required", materials=["photo", "residence_proof"]
    )
    return case(
        state="correction_required",
        stages=stages(replace(WAITS, accepted_at=None, stage=None)),
        asked=asked,
        accepted_at=None,
        legal_due_at=None,
        promised_due_at=None,
        stage=None,
        department=None,
        timeline=[
            case()["timeline"][0],
            entry(
                "2026-11-23T01:15:01+00:00",
                "materials",
                "materials-matched",
                gaps=["photo", "residence_proof"],
            ),
            line,
        ],
    )


def denied_case() -> dict[str, Any]:
    """A refused and closed case."""
    decided = "2026-11-24T02:00:00+00:00"
    return case(
        state="denied",
        stages=stages(
            replace(WAITS, outcome="denied", decided_at=WAITS.received_at, closed_at=WAITS.received_at)
        ),
        outcome="denied",
        decided_at=decided,
        closed_at=decided,
        stage=None,
        department=None,
        reasons=[
            {"step": "decide", "outcome": "denied", "at": decided, "reason": "居住未满半年。<b>不是标签</b>"}
        ],
        timeline=[
            *case()["timeline"],
            entry(decided, "approval", "case-decided", outcome="denied"),
            entry(decided, "approval", "case-closed"),
        ],
    )


def given(state: str, basis: str = "own", document: str | None = None) -> dict[str, Any]:
    """What somebody, or somebody else for them, has agreed to, and how that stands."""
    withdrawn = state in ("withdrawn", "replaced")
    return {
        **consent(),
        "given_at": "2026-11-23T02:00:00+00:00",
        "basis": basis,
        "document": document,
        "withdrawn_at": "2026-11-23T03:00:00+00:00" if withdrawn else None,
        "state": state,
    }


def asked_consent(state: str = "asked") -> dict[str, Any]:
    """A consent that was never given."""
    return {**given(state), "given_at": None, "basis": None}


def at_counter(**changes: Any) -> dict[str, Any]:
    """What a counter may note for whom it serves."""
    holders = [
        {"role": role, "name_zh": names.zh, "name_en": names.en, "served": role == "agent"}
        for role, names in ((role, holder.names) for role, holder in matter().holders.items())
    ]
    named = {name: consent()[name] for name in ("number", "matter", "matter_zh", "matter_en")}
    return {**named, "served": "演示甲", "holders": holders[:1], "standing": holders[1:], **changes}


def consent() -> dict[str, Any]:
    """What a case asks of somebody who did not file it."""
    return {
        "number": NUMBER,
        "matter": "residence_permit.apply",
        "matter_zh": "居住证申领",
        "matter_en": "Residence permit application",
        "materials": [
            {"material": "id_card", "name_zh": "居民身份证", "name_en": "Resident identity card"},
            {"material": "photo", "name_zh": "本人相片", "name_en": "Photograph of the applicant"},
        ],
        "asked_at": "2026-11-23T01:15:03+00:00",
    }


def task(**changes: Any) -> dict[str, Any]:
    """The deciding task, claimed by officer-1."""
    base: dict[str, Any] = {
        "id": str(UUID(int=7)),
        "case": NUMBER,
        "matter": "residence_permit.apply",
        "matter_version": 1,
        "step": "decide",
        "department": "xihu-police",
        "decides": True,
        "state": "claimed",
        "version": 2,
        "due_at": "2026-11-30T15:59:59+00:00",
        "created_at": "2026-11-23T01:15:03+00:00",
        "officer": "officer-1",
        "claimed_at": "2026-11-24T01:00:00+00:00",
        "outcome": None,
        "light": "yellow",
        "asked": [],
        "case_state": "under_review",
        "application": {
            "form": {
                "applicant": {"name": "演示甲", "id_number": "33010619900307771X", "phone": "13800008000"},
                "residence": {"address": "示范路 1 号", "kind": "rented", "since": "2025-03-01"},
                "ground": "employment",
                "fetch_consent": True,
            },
            "names_as_written": [],
            "channel": "web",
            "received_at": "2026-11-23T01:15:00+00:00",
        },
        "materials": [
            {
                "material": "id_card",
                "outcome": "matched",
                "source": "certificate",
                "certificate": "1",
                "upload": None,
            },
            {
                "material": "residence_proof",
                "outcome": "self_provided",
                "source": "upload",
                "certificate": None,
                "upload": str(UUID(int=9)),
            },
        ],
    }
    return {**base, **changes}


NAME_AS_WRITTEN = {
    **task()["application"],
    "names_as_written": [{"pointer": "/applicant/name", "verified": "Yan Shijia"}],
}
"""A form whose applicant goes by another name than their log-in's."""


def pages() -> dict[str, tuple[str, dict[str, Any], Principal | None]]:
    """Name -> template, values, visitor: one of each page and state."""
    found = matter()
    citizen: dict[str, Any] = {
        "matter": found,
        "today": TODAY,
        "can_supply": True,
        "kept": None,
        "consent": None,
        "supplied": False,
        "most_mb": 10,
        "messages": None,
        "certificate": None,
        "problem": None,
    }
    desk: dict[str, Any] = {
        "matter": found,
        "today": TODAY,
        "officer": "officer-1",
        "problem": None,
        "outcome": None,
        "reason": "",
        "supervises": False,
        "works_here": True,
        "assignment": None,
        "held": False,
    }
    queue = [
        {**task(), "light": "red"},
        {**task(state="open", officer=None, claimed_at=None, step="verify"), "light": "green"},
        {**task(due_at=None, asked=["id_card"]), "light": None},
    ]
    contacts: dict[str, Any] = {
        "verifiable": ["phone", "email"],
        "not_sent": [],
        "problem": None,
        "kind": None,
        "value": "",
        "held": False,
    }
    code: dict[str, Any] = {"contact": CONTACTS[0], "digits": 6, "minutes": 10, "typed": "", "held": False}
    no_cases: dict[str, Any] = {"cases": [], "next": None, "own": True, "consents": [], "held": False}
    no_consents: dict[str, Any] = {"waiting": [], "given": [], "next": None, "cursor": None}
    counter: dict[str, Any] = {
        "case": at_counter(),
        "operator": OPERATOR.subject,
        "documents": list(ProxyDocument),
        "typed": Noting(),
        "held": False,
        "problem": None,
        "noted": None,
    }
    typed = Noting(None, "applicant", "guardianship", "户口簿 0412")
    return {
        "case": ("case.html", {**citizen, "case": case()}, CITIZEN),
        "case-asked": ("case.html", {**citizen, "case": asked_case()}, CITIZEN),
        "case-asked-held": ("case.html", {**citizen, "case": asked_case(), "kept": KEPT}, CITIZEN),
        "task-held": (
            "task.html",
            {**desk, "task": task(), "held": True, "reason": "居住未满半年。"},
            OFFICER,
        ),
        "case-asked-by-code": ("case.html", {**citizen, "case": asked_case(), "can_supply": False}, None),
        "case-asked-again": (
            "case.html",
            {**citizen, "case": case(asked=asked_case()["asked"]), "consent": given("withdrawn")},
            CITIZEN,
        ),
        "case-at-a-counter": ("case.html", {**citizen, "case": case()}, OPERATOR),
        "case-asked-wrong": ("case.html", {**citizen, "case": asked_case(), "problem": WRONG_FILE}, CITIZEN),
        "case-supplied": ("case.html", {**citizen, "case": asked_case(), "supplied": True}, CITIZEN),
        "case-issued": (
            "case.html",
            {**citizen, "case": issued_case(), "certificate": CERTIFICATE, "messages": MESSAGES},
            CITIZEN,
        ),
        "case-denied": ("case.html", {**citizen, "case": denied_case()}, CITIZEN),
        "case-late": ("case.html", {**citizen, "case": case(), "today": date(2026, 12, 3)}, CITIZEN),
        "case-new": (
            "case.html",
            {
                **citizen,
                "case": case(
                    state="submitted",
                    materials=[],
                    accepted_at=None,
                    promised_due_at=None,
                    legal_due_at=None,
                    stage=None,
                    department=None,
                    timeline=case()["timeline"][:1],
                ),
            },
            CITIZEN,
        ),
        "case-earlier": (
            "case.html",
            {**citizen, "case": case(timeline_is_newest=False, timeline_next="abc=")},
            CITIZEN,
        ),
        "case-long-by-code": (
            "case.html",
            {**citizen, "case": case(timeline_next="abc="), "can_supply": False},
            None,
        ),
        "my-cases": (
            "my_cases.html",
            {
                "cases": [case(), asked_case(), denied_case()],
                "next": "abc=",
                "cursor": None,
                "own": True,
                "consents": [consent()],
                "held": False,
            },
            CITIZEN,
        ),
        "consents": (
            "consents.html",
            {
                **no_consents,
                "waiting": [consent()],
                "given": [given(state) for state in GIVEN] + [given("stands", "proxy", "guardianship")],
                "next": "abc=",
            },
            CITIZEN,
        ),
        "consents-none": ("consents.html", no_consents, CITIZEN),
        "consents-no-more": ("consents.html", {**no_consents, "cursor": "abc="}, CITIZEN),
        "consent-asked": ("consent.html", {"consent": asked_consent(), "held": True}, CITIZEN),
        "consent-not-needed": ("consent.html", {"consent": asked_consent("over"), "held": False}, CITIZEN),
        "consent-by-proxy": (
            "consent.html",
            {"consent": given("stands", "proxy", "power_of_attorney"), "held": False},
            CITIZEN,
        ),
        **{
            f"consent-{state}": ("consent.html", {"consent": given(state), "held": False}, CITIZEN)
            for state in GIVEN
        },
        "counter": ("counter.html", {"problem": None, "number": ""}, OPERATOR),
        "counter-wrong": ("counter.html", {"problem": WRONG_FIELD, "number": "33"}, OPERATOR),
        "counter-case": ("counter_case.html", counter, OPERATOR),
        "counter-case-noted": (
            "counter_case.html",
            {**counter, "case": at_counter(holders=[]), "noted": "consent"},
            OPERATOR,
        ),
        "counter-case-nothing": (
            "counter_case.html",
            {**counter, "case": at_counter(holders=[], standing=[]), "noted": "withdrawal"},
            OPERATOR,
        ),
        "counter-case-wrong": (
            "counter_case.html",
            {**counter, "typed": typed, "problem": WRONG_PROXY},
            OPERATOR,
        ),
        "counter-case-held": ("counter_case.html", {**counter, "typed": typed, "held": True}, OPERATOR),
        "my-cases-of-whom-one-serves": (
            "my_cases.html",
            {**no_cases, "own": False, "cursor": None},
            OPERATOR,
        ),
        "my-cases-none": ("my_cases.html", {**no_cases, "cursor": None}, CITIZEN),
        "my-cases-no-more": ("my_cases.html", {**no_cases, "cursor": "abc="}, CITIZEN),
        "contacts": ("contacts.html", {**contacts, "contacts": CONTACTS}, CITIZEN),
        "contacts-none": ("contacts.html", {**contacts, "contacts": []}, CITIZEN),
        "contacts-fixed": ("contacts.html", {**contacts, "contacts": CONTACTS, "verifiable": []}, CITIZEN),
        "contacts-wrong": (
            "contacts.html",
            {**contacts, "contacts": CONTACTS, "problem": WRONG_VALUE, "kind": "email", "value": "a@b"},
            CITIZEN,
        ),
        "contacts-no-channel": (
            "contacts.html",
            {**contacts, "contacts": CONTACTS, "verifiable": ["email"], "not_sent": ["phone"]},
            CITIZEN,
        ),
        "contacts-held": (
            "contacts.html",
            {**contacts, "contacts": CONTACTS, "kind": "email", "value": "a@example.org", "held": True},
            CITIZEN,
        ),
        "contact-code-held": (
            "contact_code.html",
            {**code, "problem": None, "typed": "271828", "held": True},
            CITIZEN,
        ),
        "contact-code": ("contact_code.html", {**code, "problem": None}, CITIZEN),
        "contact-code-wrong": ("contact_code.html", {**code, "problem": WRONG_CODE}, CITIZEN),
        "home": ("home.html", {"matters": [found], "next": "abc="}, None),
        "home-officer": ("home.html", {"matters": [], "next": None}, OFFICER),
        "lookup": ("lookup.html", {"problem": None, "number": "", "query_code": ""}, None),
        "stop": ("stop.html", {"problem": None, "code": "", "what": ""}, None),
        "stop-wrong": (
            "stop.html",
            {"problem": WRONG_NUMBER, "code": "BCDF-GHJK-LMNP", "what": "everything"},
            None,
        ),
        "stopped": ("stopped.html", {"what": "case"}, None),
        "stopped-everything": ("stopped.html", {"what": "everything"}, None),
        "login": (
            "login.html",
            {"ways": WAYS},
            None,
        ),
        "login-nowhere": ("login.html", {"ways": []}, None),
        "dev-login": (
            "dev_login.html",
            {"people": PEOPLE, "problem": None, "name": "", "serving": False},
            None,
        ),
        "dev-login-wrong": (
            "dev_login.html",
            {"people": PEOPLE, "problem": WRONG_NUMBER, "name": "Somebody", "serving": False},
            None,
        ),
        "dev-login-wrong-served": (
            "dev_login.html",
            {"people": PEOPLE, "problem": WRONG_NUMBER, "name": "Somebody", "serving": True},
            None,
        ),
        "problems": ("problems.html", {"groups": grouped()}, None),
        "queue": (
            "queue.html",
            {"tasks": queue, "next": "abc=", "mine": False, "matters": {(found.code, found.version): found}},
            OFFICER,
        ),
        "queue-none": ("queue.html", {"tasks": [], "next": None, "mine": True, "matters": {}}, OFFICER),
        "task": ("task.html", {**desk, "task": task()}, OFFICER),
        "task-name-as-written": ("task.html", {**desk, "task": task(application=NAME_AS_WRITTEN)}, OFFICER),
        "task-open": (
            "task.html",
            {**desk, "task": task(state="open", officer=None, claimed_at=None)},
            OFFICER,
        ),
        "task-other": ("task.html", {**desk, "task": task(officer="officer-2")}, OFFICER),
        "task-step": ("task.html", {**desk, "task": task(step="verify", decides=False)}, OFFICER),
        "task-missing": ("task.html", {**desk, "task": task(asked=["id_card", "residence_proof"])}, OFFICER),
        "task-done": ("task.html", {**desk, "task": task(state="done", outcome="approved")}, OFFICER),
    }
