"""A citizen without JavaScript: log in, follow a case, bring what is missing; look up without a log-in."""

import re

import pytest
from playwright.sync_api import FilePayload, Locator, Page, expect

from tests.browser.system import A_PDF, Case, System
from tests.browser.visitor import Visit, Visitor
from tests.support.installation import GAP, Citizen

pytestmark = pytest.mark.browser

FILE: FilePayload = {"name": "租赁合同.pdf", "mimeType": "application/pdf", "buffer": A_PDF}


def log_in(one: Visitor, who: Citizen) -> None:
    """From the first page, as somebody who speaks Chinese."""
    one.go("/")
    one.page.get_by_role("main").get_by_role("link", name="登录", exact=True).click()
    one.page.get_by_label("姓名").fill(who.name)
    one.page.get_by_label("身份证号码").fill(who.id_number)
    one.page.get_by_role("button", name="以申请人身份登录").click()
    expect(one.page).to_have_url(re.compile("/cases$"))


def heading(page: Page, text: str) -> None:
    """Wait for the page that is called so."""
    expect(page.get_by_role("heading", level=1)).to_have_text(text)


def tab_to(page: Page, wanted: Locator, most: int = 30) -> None:
    """Press Tab until the focus is there."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if wanted.evaluate("element => element === document.activeElement"):
            return
    pytest.fail(f"{wanted} is further away than {most} times Tab")


def test_from_the_first_page_to_what_was_missing(system: System, visit: Visit) -> None:
    one, who = visit(javascript=False), system.citizen(GAP)
    page = one.page
    log_in(one, who)
    heading(page, "我的办件")
    expect(page.get_by_text("您还没有办件。")).to_be_visible()

    case = system.apply(who)
    system.until(case.number, "correction_required")
    page.reload()
    expect(page.get_by_text("待您补正材料")).to_be_visible()
    page.get_by_role("link", name="居住证申领").click()
    expect(page).to_have_url(re.compile(f"/cases/{case.number}$"))
    expect(page.get_by_role("status")).to_contain_text("待您补正材料")
    stages = page.locator("section > .os-timeline > li")
    expect(stages.first).to_contain_text("收到申请")
    expect(page.locator("[aria-current=step]")).to_contain_text("核验材料")
    banner = page.get_by_role("region", name="需要您办理")
    expect(banner).to_contain_text("还缺 1 项材料")

    banner.get_by_label("选择文件").set_input_files(FILE)
    with system.nobody_works():
        banner.get_by_role("button", name="一次提交全部材料").click()
        expect(page.get_by_text("材料已收到，正在核验。")).to_be_visible()
        expect(banner).to_have_count(0)
    system.until(case.number, "under_review")
    page.reload()
    expect(page.get_by_role("status")).to_contain_text("审查中")
    expect(page.locator("[aria-current=step]")).to_contain_text("核查")
    page.get_by_text("全部记录").click()
    everything = page.locator("details .os-timeline")
    expect(everything).to_contain_text("您提交了补正材料")
    expect(everything).to_contain_text("正式受理")


def test_the_same_with_the_keyboard_alone(system: System, visit: Visit) -> None:
    one, who = visit(), system.citizen(GAP)
    case = system.apply(who)
    page, keys = one.page, one.page.keyboard
    # Somebody must listen early, or the browser opens a window of its own when a file is to be chosen.
    page.on("filechooser", lambda chooser: None)
    one.go("/")
    keys.press("Tab")
    expect(page.get_by_role("link", name="跳到主要内容")).to_be_focused()
    expect(page.get_by_role("link", name="跳到主要内容")).to_be_in_viewport()
    keys.press("Enter")
    tab_to(page, page.get_by_role("main").get_by_role("link", name="登录", exact=True), most=2)
    keys.press("Enter")
    tab_to(page, page.get_by_label("姓名"))
    keys.type(who.name)
    tab_to(page, page.get_by_label("身份证号码"))
    keys.type(who.id_number)
    keys.press("Enter")
    heading(page, "我的办件")
    system.until(case.number, "correction_required")
    page.reload()
    tab_to(page, page.get_by_role("link", name=case.number))
    keys.press("Enter")
    heading(page, "居住证申领")
    tab_to(page, page.get_by_label("选择文件"))
    with page.expect_file_chooser() as chooser:
        keys.press("Enter")
    chooser.value.set_files(FILE)
    tab_to(page, page.get_by_role("button", name="一次提交全部材料"))
    with system.nobody_works():
        keys.press("Enter")
        expect(page.get_by_text("材料已收到，正在核验。")).to_be_visible()


def test_the_skip_link_needs_no_script(visit: Visit) -> None:
    one = visit(javascript=False)
    one.go("/lookup")
    one.page.keyboard.press("Tab")
    one.page.keyboard.press("Enter")
    one.page.keyboard.press("Tab")
    expect(one.page.get_by_label("办件编号")).to_be_focused()


def test_a_file_of_the_wrong_kind_is_told_beside_its_field(system: System, visit: Visit) -> None:
    one, who = visit(javascript=False), system.citizen(GAP)
    case = system.apply(who)
    system.until(case.number, "correction_required")
    log_in(one, who)
    one.go(f"/cases/{case.number}")
    field = one.page.get_by_label("选择文件")
    field.set_input_files({"name": "notes.txt", "mimeType": "text/plain", "buffer": b"just some words"})
    one.page.get_by_role("button", name="一次提交全部材料").click()
    alert = one.page.get_by_role("alert")
    expect(alert).to_contain_text("请改正标出的材料后重新提交")
    alert.get_by_role("link").click()
    expect(field).to_be_focused()
    expect(field).to_have_accessible_description(re.compile("错误："))

    one.page.get_by_role("button", name="English").click()
    expect(one.page).to_have_url(re.compile(f"/cases/{case.number}$"))
    expect(one.page.get_by_role("status")).to_contain_text("Waiting for your materials")


@pytest.fixture(scope="module")
def followed(system: System) -> Case:
    """A case under review of somebody who has brought everything."""
    case = system.apply(system.citizen())
    system.until(case.number, "under_review")
    return case


def test_number_and_query_code_are_enough(system: System, visit: Visit, followed: Case) -> None:
    one = visit(javascript=False)
    page = one.page
    one.go("/")
    page.get_by_role("link", name="办件查询").click()
    heading(page, "办件查询")
    page.get_by_label("办件编号").fill(followed.number)
    page.get_by_label("查询码").fill("不是这个")
    page.get_by_role("button", name="查询").click()
    expect(page.get_by_role("alert")).to_contain_text("请核对办件编号和查询码")
    expect(page.get_by_label("办件编号")).to_have_value(followed.number)

    page.get_by_label("查询码").fill(followed.query_code)
    page.get_by_role("button", name="查询").click()
    heading(page, "居住证申领")
    expect(page.get_by_role("status")).to_contain_text("审查中")
    assert followed.query_code not in page.url


def test_what_is_missing_is_told_by_code_too_but_sent_only_by_its_citizen(
    system: System, visit: Visit
) -> None:
    one = visit(javascript=False)
    case = system.apply(system.citizen(GAP))
    system.until(case.number, "correction_required")
    one.go("/")
    one.page.get_by_label("办件编号").fill(case.number)
    one.page.get_by_label("查询码").fill(case.query_code)
    one.page.get_by_role("button", name="查询").click()
    expect(one.page.get_by_role("region", name="需要您办理")).to_contain_text("请登录后上传")
    expect(one.page.locator("input[type=file]")).to_have_count(0)


def test_language_and_large_text_are_kept_from_page_to_page(
    system: System, visit: Visit, followed: Case
) -> None:
    one = visit(javascript=False)
    page, root = one.page, one.page.locator("html")
    log_in(one, followed.who)
    expect(root).to_have_attribute("lang", "zh-CN")
    page.get_by_role("button", name="English").click()
    heading(page, "My cases")
    expect(root).to_have_attribute("lang", "en")
    page.get_by_role("button", name="Large text").click()
    heading(page, "My cases")
    expect(root).to_have_attribute("data-mode", "elder")
    page.get_by_role("link", name="Residence permit").click()
    expect(page.get_by_role("status")).to_contain_text("Under review")
    expect(root).to_have_attribute("data-mode", "elder")
    expect(root).to_have_attribute("lang", "en")
    page.get_by_role("button", name="Standard").click()
    page.get_by_role("button", name="中文").click()
    expect(page).to_have_url(re.compile(f"/cases/{followed.number}$"))
    expect(root).to_have_attribute("lang", "zh-CN")
    expect(root).not_to_have_attribute("data-mode", re.compile("."))
    page.get_by_role("button", name="退出").click()
    heading(page, "一次申请，少交材料，全程可查")
    one.go("/cases")
    expect(page.get_by_role("heading", level=1)).to_contain_text("登录")


def test_others_see_nothing_of_it(system: System, visit: Visit, followed: Case) -> None:
    one = visit(javascript=False)
    log_in(one, system.citizen())
    one.go(f"/cases/{followed.number}")
    heading(one.page, "没有找到该办件")
    expect(one.page.locator("body")).not_to_contain_text(followed.who.name)
