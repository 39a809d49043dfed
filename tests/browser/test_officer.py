"""Officers at their desk: queue, claim, decide with reasons; and two who want the same task."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.system import Case, System
from tests.browser.visitor import Visit, Visitor

pytestmark = pytest.mark.browser

REASON = "实地核查时未见申请人在此居住。"


def log_in(one: Visitor, name: str) -> None:
    """As an officer of both desks."""
    one.go("/dev/login")
    one.page.get_by_role("radio", name=name).check()
    one.page.get_by_role("button", name="以工作人员身份登录").click()
    expect(one.page.get_by_role("heading", level=1)).to_have_text("待办任务")


def open_case(page: Page, case: Case) -> None:
    """From the queue to the task of a case."""
    page.get_by_role("link", name=case.number).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("居住证申领")


def claim(page: Page) -> None:
    """Take the task that is shown."""
    page.get_by_role("button", name="领取任务").click()
    expect(page.get_by_role("button", name="退回待办")).to_be_visible()


def submitted(system: System) -> Case:
    """A case in the queue."""
    case = system.apply(system.citizen())
    system.until(case.number, "under_review")
    return case


def test_from_the_queue_to_what_the_citizen_reads(system: System, visit: Visit) -> None:
    case = submitted(system)
    desk = visit(javascript=False)
    page = desk.page
    log_in(desk, "1号工作人员")
    open_case(page, case)
    expect(page.get_by_role("region", name="申请表")).to_contain_text(case.who.name)
    expect(page.get_by_role("region", name="材料")).to_contain_text("电子证照，核验有效")
    claim(page)
    page.get_by_role("button", name="通过，转下一环节").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("待办任务")
    system.settle()

    page.reload()
    open_case(page, case)
    claim(page)
    page.get_by_role("radio", name="不予许可").check()
    page.get_by_role("button", name="作出决定").click()
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("不予许可必须说明理由")
    alert.get_by_role("link").click()
    reason = page.get_by_label("理由")
    expect(reason).to_be_focused()
    expect(page.get_by_role("radio", name="不予许可")).to_be_checked()
    # In another language and back: the page that answered a form is read again at the address of its task.
    page.get_by_role("button", name="English").click()
    expect(page.get_by_role("region", name="Your decision")).to_be_visible()
    page.get_by_role("button", name="中文").click()
    page.get_by_role("radio", name="不予许可").check()
    reason.fill(REASON)
    page.get_by_role("button", name="作出决定").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("待办任务")
    expect(page.get_by_role("link", name=case.number)).to_have_count(0)
    system.until(case.number, "denied")

    citizen = visit(javascript=False, session=system.session(case.who))
    citizen.go(f"/cases/{case.number}")
    expect(citizen.page.get_by_role("status")).to_contain_text("不予许可")
    expect(citizen.page.get_by_role("region", name="不予许可的理由")).to_contain_text(REASON)
    expect(citizen.page.get_by_role("region", name="不予许可的理由")).to_contain_text("行政复议")


def test_the_second_who_claims_sees_who_and_when(system: System, visit: Visit) -> None:
    case = submitted(system)
    first, second = visit(), visit(javascript=False)
    for one, name in ((first, "1号工作人员"), (second, "2号工作人员")):
        log_in(one, name)
        open_case(one.page, case)
    claim(first.page)
    second.page.get_by_role("button", name="领取任务").click()
    expect(second.page.get_by_role("heading", level=1)).to_have_text("该任务已由其他工作人员领取")
    main = second.page.get_by_role("main")
    expect(main).to_contain_text("officer-1")
    expect(main.locator("time")).to_have_text(re.compile(r"\d{4}年\d+月\d+日 \d{2}:\d{2}"))
    expect(second.page.get_by_role("button", name="退出")).to_be_visible()

    main.get_by_role("link", name="返回待办任务").click()
    expect(second.page.get_by_role("row", name=case.number)).to_contain_text("officer-1")
    open_case(second.page, case)
    expect(second.page.get_by_text("您只能查看")).to_be_visible()
    expect(second.page.get_by_role("button", name="领取任务")).to_have_count(0)
