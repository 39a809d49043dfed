"""A session that ends while a form is open: log in, and all that was filled in is there again."""

import re

import httpx
import pytest
from playwright.sync_api import FilePayload, expect

from tests.browser.system import A_PDF, System
from tests.browser.test_citizen import log_in as log_in_citizen
from tests.browser.test_officer import claim, open_case
from tests.browser.test_officer import log_in as log_in_officer
from tests.browser.visitor import Visit, Visitor
from tests.support.installation import GAP

pytestmark = pytest.mark.browser

FILE: FilePayload = {"name": "租赁合同.pdf", "mimeType": "application/pdf", "buffer": A_PDF}


def end_session(system: System, one: Visitor) -> None:
    """It is ended from elsewhere: this browser still has the cookie."""
    (cookie,) = [c["value"] for c in one.context.cookies() if c.get("name") == "onestop_session"]
    left = httpx.post(
        f"{system.origin}/logout", headers={"Cookie": f"onestop_session={cookie}"}, trust_env=False
    )
    assert left.status_code == 303


def test_a_citizen_finds_the_chosen_file_again(system: System, visit: Visit) -> None:
    one, who = visit(javascript=False), system.citizen(GAP)
    case = system.apply(who)
    system.until(case.number, "correction_required")
    log_in_citizen(one, who)
    page = one.page
    one.go(f"/cases/{case.number}")
    page.get_by_label("选择文件").set_input_files(FILE)
    page.get_by_label("您提交的是哪一种").select_option(index=1) if page.locator("select").count() else None
    end_session(system, one)
    page.get_by_role("button", name="一次提交全部材料").click()
    page.get_by_label("姓名").fill(who.name)
    page.get_by_label("身份证号码").fill(who.id_number)
    page.get_by_role("button", name="以申请人身份登录").click()
    expect(page).to_have_url(re.compile(rf"/cases/{case.number}\?held="))
    expect(page.get_by_text("您填写的内容已保留")).to_be_visible()
    expect(page.get_by_text("租赁合同.pdf")).to_be_visible()
    page.get_by_role("button", name="一次提交全部材料").click()
    system.until(case.number, "under_review")


def test_an_officer_finds_the_reasons_again(system: System, visit: Visit) -> None:
    one, who = visit(javascript=False), system.citizen()
    case = system.apply(who)
    system.until(case.number, "under_review")
    log_in_officer(one, "1号工作人员")
    open_case(one.page, case)
    claim(one.page)
    reasons = one.page.get_by_label("理由", exact=True)
    reasons.fill("实地核查：\n情况属实。")
    end_session(system, one)
    one.page.get_by_role("button", name="通过，转下一环节").click()
    one.page.get_by_role("radio", name="1号工作人员").check()
    one.page.get_by_role("button", name="以工作人员身份登录").click()
    expect(one.page).to_have_url(re.compile(r"/desk/tasks/.*\?held="))
    expect(reasons).to_have_value("实地核查：\n情况属实。")
    one.page.get_by_role("button", name="通过，转下一环节").click()
    expect(one.page.get_by_role("heading", level=1)).to_have_text("待办任务")


def test_an_officer_who_logs_in_again_in_another_tab_finds_the_reasons_again(
    system: System, visit: Visit
) -> None:
    one, who = visit(javascript=False), system.citizen()
    case = system.apply(who)
    system.until(case.number, "under_review")
    log_in_officer(one, "1号工作人员")
    open_case(one.page, case)
    claim(one.page)
    reasons = one.page.get_by_label("理由", exact=True)
    reasons.fill("实地核查：\n情况属实。")
    tab = one.context.new_page()
    tab.goto(f"{system.origin}/desk")
    tab.get_by_role("button", name="退出").click()
    tab.goto(f"{system.origin}/dev/login")
    tab.get_by_role("radio", name="1号工作人员").check()
    tab.get_by_role("button", name="以工作人员身份登录").click()
    expect(tab.get_by_role("heading", level=1)).to_have_text("待办任务")
    one.page.get_by_role("button", name="通过，转下一环节").click()
    expect(one.page).to_have_url(re.compile(r"/desk/tasks/.*\?held="))
    expect(one.page.get_by_text("您填写的内容已保留")).to_be_visible()
    expect(reasons).to_have_value("实地核查：\n情况属实。")
    one.page.get_by_role("button", name="通过，转下一环节").click()
    expect(one.page.get_by_role("heading", level=1)).to_have_text("待办任务")
