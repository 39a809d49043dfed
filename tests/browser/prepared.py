"""One of every page in every state that people meet, and the way there."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from playwright.sync_api import Page

from services.approval.commands import StepResult
from tests.browser.system import DEPARTMENTS, Case, System
from tests.browser.visitor import Visitor
from tests.support.agents import GRANNY
from tests.support.contacts import added
from tests.support.installation import Citizen

LITTLE = ("id_card",)
"""With this alone three things are missing, one of them in one of several forms."""

Role = Literal["nobody", "citizen", "gaps", "newcomer", "holder", "officer", "supervisor", "operator"]


@dataclass(frozen=True, slots=True)
class Prepared:
    """Sessions by role, cases by their state, and the newest task of each."""

    sessions: Mapping[Role, str | None]
    cases: Mapping[str, Case]
    tasks: Mapping[str, str]
    contact: str
    """A contact of the newcomer that waits to be verified."""


def set_up(system: System) -> Prepared:
    """Bring every case where it belongs. The worker must run; afterwards let `nobody_works` hold it there."""
    who, gaps, newcomer = system.citizen(), system.citizen(LITTLE), system.citizen()
    cases = {
        name: system.apply(who) for name in ("open", "step", "deciding", "foreign", "denied", "approved")
    }
    cases |= {name: system.apply(gaps) for name in ("asked", "supplied")}
    # Whom it is for is asked to agree; who brought it stands at a counter.
    holder = Citizen(GRANNY["name"], GRANNY["id_number"], GRANNY["phone"])
    cases["for-holder"] = system.apply(holder, agent=who)
    cases["withdrawn"] = system.apply(who)
    system.settle()
    for name in ("deciding", "denied", "approved"):
        system.made.work_task(cases[name].number)
    system.withdraw(cases["withdrawn"])
    system.settle()
    system.made.work_task(cases["denied"].number, StepResult.DENIED)
    system.made.work_task(cases["approved"].number)
    system.settle()
    tasks = {
        name: system.task_of(cases[name].number)
        for name in cases
        if name not in ("asked", "supplied", "for-holder")
    }
    for name, officer in (("step", "officer-1"), ("deciding", "officer-1"), ("foreign", "officer-2")):
        system.claim(officer, tasks[name])
    system.settle()
    let_it_be_late(system, cases["deciding"])
    logged_in = system.session(newcomer)
    # Whoever is logged in with a contact has it from that moment.
    person = system.made.value("SELECT person_ref FROM intake.contact_points ORDER BY added_at DESC LIMIT 1")
    sessions: dict[Role, str | None] = {
        "nobody": None,
        "citizen": system.session(who),
        "gaps": system.session(gaps),
        "newcomer": logged_in,
        "holder": system.session(holder),
        "operator": system.operator_session("counter-1", who),
        "officer": system.officer_session("officer-1"),
        "supervisor": system.officer_session("officer-9", *DEPARTMENTS),
    }
    contact = added(system.made, person)
    return Prepared(sessions, cases, tasks, str(contact))


def let_it_be_late(system: System, case: Case) -> None:
    """The promise of this case was to be kept three days ago."""
    for what in ("intake.cases SET promised_due_at", "approval.tasks SET due_at"):
        table, column = what.split(" SET ")
        key = "number" if table == "intake.cases" else "case_no"
        changed = system.made.change(
            f"UPDATE {table} SET {column} = now() - interval '3 days' WHERE {key} = :n", n=case.number
        )
        assert changed >= 1


def add_transient(system: System, prepared: Prepared) -> Prepared:
    """What citizens see for a second only: call it while nobody works."""
    number = prepared.cases["supplied"].number
    system.made.supply(number, "photo", "lease_contract", "labour_contract")
    new = system.apply(prepared.cases["asked"].who)
    return replace(prepared, cases={**prepared.cases, "new": new})


Way = Callable[[Visitor, Prepared], None]


@dataclass(frozen=True, slots=True)
class Place:
    """A page in one state: who sees it and how they get there.

    All parts of a `twin` are on other pages too, so one language and mode is enough for it.
    """

    role: Role
    way: Way
    twin: bool = False


def at(path: str) -> Way:
    """A page by its address."""
    return lambda one, prepared: one.go(path)


def at_case(name: str) -> Way:
    """The page of a case, for its citizen."""
    return lambda one, prepared: one.go(f"/cases/{prepared.cases[name].number}")


def at_task(name: str) -> Way:
    """The page of a task."""
    return lambda one, prepared: one.go(f"/desk/tasks/{prepared.tasks[name]}")


def send(page: Page, action: str) -> None:
    """Send a form as it is: what the browser itself would refuse, the server must refuse as well."""
    form = page.locator(f"form[action$='{action}']")
    form.evaluate("form => { form.noValidate = true }")
    form.locator("button").first.click()


def look_up(one: Visitor, number: str, query_code: str) -> None:
    """Ask for a case by its number and code."""
    one.go("/lookup")
    one.page.locator("#number").fill(number)
    one.page.locator("#query_code").fill(query_code)
    send(one.page, "/lookup")


def found_by_code(one: Visitor, prepared: Prepared) -> None:
    case = prepared.cases["asked"]
    look_up(one, case.number, case.query_code)


def not_found_by_code(one: Visitor, prepared: Prepared) -> None:
    look_up(one, prepared.cases["asked"].number, "wrong")


def stop_nothing(one: Visitor, prepared: Prepared) -> None:
    one.go("/stop")
    send(one.page, "/stop")


def wrong_id_number(one: Visitor, prepared: Prepared) -> None:
    one.go("/dev/login")
    one.page.locator("#name").fill("某人")
    one.page.locator("#id_number").fill("1234")
    send(one.page, "/dev/login/citizen")


def at_code(one: Visitor, prepared: Prepared) -> None:
    one.go(f"/contacts/{prepared.contact}")


def type_a_code(one: Visitor, prepared: Prepared) -> None:
    at_code(one, prepared)
    one.page.locator("#code").fill("000000")
    send(one.page, "/verification")


def add_what_no_message_reaches(one: Visitor, prepared: Prepared) -> None:
    one.go("/contacts")
    one.page.locator("#value").fill("0571 8765 4321")
    send(one.page, "/contacts")


def at_consent(name: str) -> Way:
    """The page of a holder's consent in a case."""
    return lambda one, prepared: one.go(f"/cases/{prepared.cases[name].number}/consent")


def at_counter(one: Visitor, prepared: Prepared) -> None:
    one.go(f"/cases/{prepared.cases['for-holder'].number}/counter")


def note_nothing(one: Visitor, prepared: Prepared) -> None:
    at_counter(one, prepared)
    send(one.page, "/counter/consent")


def find_nothing(one: Visitor, prepared: Prepared) -> None:
    one.go("/counter")
    one.page.locator("#number").fill("330106")
    send(one.page, "/counter")


def supply_nothing(one: Visitor, prepared: Prepared) -> None:
    at_case("asked")(one, prepared)
    send(one.page, "/supply")


def supply_wrong_file(one: Visitor, prepared: Prepared) -> None:
    at_case("asked")(one, prepared)
    for choice in one.page.locator("select").all():
        choice.select_option(index=1)
    for field in one.page.locator("input[type=file]").all():
        field.set_input_files({"name": "notes.txt", "mimeType": "text/plain", "buffer": b"just some words"})
    send(one.page, "/supply")


def refuse_without_reason(one: Visitor, prepared: Prepared) -> None:
    at_task("deciding")(one, prepared)
    one.page.locator("#outcome-denied").check()
    send(one.page, "/decision")


def decide_nothing(one: Visitor, prepared: Prepared) -> None:
    at_task("deciding")(one, prepared)
    send(one.page, "/decision")


def claim_too_late(one: Visitor, prepared: Prepared) -> None:
    """The page was open while a colleague took the task."""
    at_task("open")(one, prepared)
    form = one.page.locator("form[action$='/claim']")
    form.evaluate("(form, path) => { form.action = path }", f"/desk/tasks/{prepared.tasks['foreign']}/claim")
    send(one.page, "/claim")


def assign_to_nobody(one: Visitor, prepared: Prepared) -> None:
    at_task("foreign")(one, prepared)
    one.page.locator("#to").fill("nobody")
    one.page.locator("#assign-reason").fill("已调离")
    send(one.page, "/assignment")


PLACES: Mapping[str, Place] = {
    "home": Place("nobody", at("/")),
    "home-citizen": Place("citizen", at("/"), twin=True),
    "home-officer": Place("officer", at("/"), twin=True),
    "login": Place("nobody", at("/dev/login")),
    "login-wrong": Place("nobody", wrong_id_number),
    "lookup": Place("nobody", at("/lookup")),
    "lookup-missed": Place("nobody", not_found_by_code),
    "stop": Place("nobody", at("/stop")),
    "stop-nothing": Place("nobody", stop_nothing, twin=True),
    "lookup-found": Place("nobody", found_by_code),
    "cases": Place("citizen", at("/cases")),
    "cases-gaps": Place("gaps", at("/cases"), twin=True),
    "cases-none": Place("newcomer", at("/cases")),
    "cases-logged-out": Place("nobody", at("/cases")),
    "case-new": Place("gaps", at_case("new")),
    "case-asked": Place("gaps", at_case("asked")),
    "case-asked-nothing": Place("gaps", supply_nothing, twin=True),
    "case-asked-wrong": Place("gaps", supply_wrong_file),
    "case-supplied": Place("gaps", at_case("supplied"), twin=True),
    "case-reviewed": Place("citizen", at_case("open"), twin=True),
    "case-late": Place("citizen", at_case("deciding")),
    "case-denied": Place("citizen", at_case("denied")),
    "case-approved": Place("citizen", at_case("approved")),
    "case-of-others": Place("newcomer", at_case("open"), twin=True),
    "case-consent-withdrawn": Place("citizen", at_case("withdrawn"), twin=True),
    "cases-consent-asked": Place("holder", at("/cases")),
    "consents": Place("citizen", at("/consents")),
    "consents-none": Place("newcomer", at("/consents"), twin=True),
    "consent-asked": Place("holder", at_consent("for-holder"), twin=True),
    "consent-stands": Place("citizen", at_consent("open")),
    "consent-withdrawn": Place("citizen", at_consent("withdrawn"), twin=True),
    "consent-over": Place("citizen", at_consent("approved"), twin=True),
    "counter": Place("operator", at("/counter"), twin=True),
    "counter-missed": Place("operator", find_nothing, twin=True),
    "counter-case": Place("operator", at_counter),
    "counter-case-wrong": Place("operator", note_nothing),
    "task-consent-withdrawn": Place("officer", at_task("withdrawn"), twin=True),
    "contacts": Place("newcomer", at("/contacts")),
    "contacts-wrong": Place("citizen", add_what_no_message_reaches),
    "contact-code": Place("newcomer", at_code),
    "contact-code-over": Place("newcomer", type_a_code, twin=True),
    "desk-not-for-citizens": Place("citizen", at("/desk"), twin=True),
    "queue": Place("officer", at("/desk")),
    "queue-mine": Place("officer", at("/desk?mine=1"), twin=True),
    "task-open": Place("officer", at_task("open")),
    "task-step": Place("officer", at_task("step"), twin=True),
    "task-deciding": Place("officer", at_task("deciding")),
    "task-no-reason": Place("officer", refuse_without_reason),
    "task-no-outcome": Place("officer", decide_nothing, twin=True),
    "task-foreign": Place("officer", at_task("foreign"), twin=True),
    "task-claimed": Place("officer", claim_too_late),
    "task-supervised": Place("supervisor", at_task("foreign")),
    "task-not-assigned": Place("supervisor", assign_to_nobody, twin=True),
    "task-done": Place("officer", at_task("approved"), twin=True),
    "unknown": Place("nobody", at("/nowhere"), twin=True),
    "problems": Place("nobody", at("/problems")),
}
