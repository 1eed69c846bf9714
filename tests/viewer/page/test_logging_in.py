"""Who has to log in to see the page, and where that leads."""

from typing import Any

from playwright.async_api import Page, expect

from tests.viewer.conftest import TRACE
from tests.viewer.page.browser import IN_A_BROWSER, log_in

pytestmark = IN_A_BROWSER


async def test_who_logs_in_sees_what_the_link_was_to(page: Page, viewing: Any) -> None:
    """With the headers that a browser really sends; to load the page anew sends no password again."""
    async with viewing(password="correct horse battery") as url:
        await page.goto(f"{url}/#/?filter=status%3Aerror")
        await page.get_by_label("Password").fill("wrong horse battery")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("status")).to_have_text("This is not the password.")
        await page.reload()
        await expect(page.get_by_role("status")).to_have_text("Log in to see traces.")
        await page.get_by_label("Password").fill("correct horse battery")
        await page.keyboard.press("Enter")
        await expect(page.locator("table.traces tbody tr")).to_have_count(1)
        assert page.url == f"{url}/#/?filter=status%3Aerror"


async def test_who_is_logged_in_and_follows_a_link_from_another_site_gets_on_by_a_click(
    page: Page, viewing: Any
) -> None:
    """To what the link was to; who is not logged in is told so."""
    async with viewing(password="correct horse battery") as url:
        link = f"<a href='{url}/#/t/{TRACE}'>look</a>"
        await page.route("http://chat.test/", lambda route: route.fulfill(body=link, content_type="text/html"))
        await page.goto("http://chat.test/")
        await page.get_by_role("link").click()
        await page.get_by_role("button", name="Open the page").click()
        await expect(page.get_by_role("status")).to_have_text("You are not logged in here.")
        await log_in(page)
        await expect(page.get_by_role("treeitem")).to_have_count(3)

        await page.goto("http://chat.test/")
        await page.get_by_role("link").click()
        await expect(page.locator("body")).to_contain_text("Already logged in?")
        await page.get_by_role("button", name="Open the page").click()
        await expect(page.get_by_role("treeitem")).to_have_count(3)
        assert page.url == f"{url}/#/t/{TRACE}"
        await page.context.clear_cookies()
        await page.goto("about:blank")
        await page.goto(url)
        await expect(page.get_by_label("Password")).to_be_visible()
        await expect(page.locator("body")).not_to_contain_text("Already logged in?")


async def test_who_logs_out_is_asked_again(page: Page, viewing: Any) -> None:
    """The session is over also for who kept its cookie; where nobody has logged in there is nothing to end."""
    log_out = page.get_by_role("button", name="Log out")
    async with viewing(password="correct horse battery") as url:
        await page.goto(url)
        await page.get_by_label("Password").fill("correct horse battery")
        await page.keyboard.press("Enter")
        await expect(page.locator("table.traces tbody tr")).to_have_count(2)
        kept = await page.context.cookies()
        await log_out.click()
        await expect(page.get_by_role("status")).to_have_text("You are logged out.")
        await expect(page.get_by_label("Password")).to_be_visible()
        await expect(page.locator("body")).not_to_contain_text("Already logged in?")
        await page.context.add_cookies(kept)
        await page.reload()
        await expect(page.get_by_label("Password")).to_be_visible()
    async with viewing() as url:
        async with page.expect_response("**/api/v1/login"):
            await page.goto(url)
        await expect(page.locator("table.traces tbody tr")).to_have_count(2)
        await expect(log_out).to_be_hidden()


async def test_who_is_not_logged_in_any_more_is_told_and_comes_back(page: Page, viewing: Any) -> None:
    """After the session has ended, as at a restart of the bridge, the page that is open says so, and leads to the
    login and from there to where it was.
    """
    async with viewing(password="correct horse battery") as url:
        await page.goto(f"{url}/#/t/{TRACE}")
        await log_in(page)
        await expect(page.get_by_role("treeitem")).to_have_count(3)
        await page.context.clear_cookies()
        await page.get_by_role("treeitem").nth(1).click()
        await expect(page.get_by_role("alert")).to_contain_text("You are not logged in any more")
        await expect(page.locator("#live")).to_have_text("logged out")
        await page.get_by_role("button", name="Log in").click()
        await log_in(page)
        await expect(page.get_by_role("treeitem")).to_have_count(3)
        await expect(page.get_by_role("alert")).to_be_hidden()
        assert page.url == f"{url}/#/t/{TRACE}/{2:016x}"
