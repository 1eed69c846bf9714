"""Addresses that lead nowhere say so, and lead on."""

from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.viewer.page.browser import IN_A_BROWSER, Seen, log_in

pytestmark = IN_A_BROWSER


async def test_what_there_is_not_is_said(page: Page, url: str) -> None:
    """The bridge answers, so the page is connected; a trace on its way shows when it comes, so it asks again."""
    await page.goto(f"{url}/#/t/ffff")
    await expect(page.locator("main h1")).to_have_text("There is no such trace")
    await expect(page.locator("#live")).to_have_text("live")
    await expect(page.locator("#problem")).to_be_hidden()
    await page.goto(f"{url}/#/nowhere")
    await expect(page.locator("main h1")).to_have_text("There is no such page")
    await page.locator("main a").click()
    await expect(page.locator("table.traces tbody tr")).to_have_count(2)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("/t/zzzz", "There is no such trace"),
        ("/banana", "There is no such page"),
        ("/t/<b>x/", "There is no such trace"),
        ("/a%2F<img src=x onerror=alert(1)>/c/d?e", "There is no such page"),
    ],
)
async def test_an_address_that_somebody_mistyped_says_so_and_leads_on(
    page: Page, url: str, address: str, said: str
) -> None:
    """From however far down."""
    seen = Seen(page, url)
    answer = await page.goto(url + address)
    assert answer is not None
    assert answer.status == 404
    await expect(page.get_by_role("heading")).to_have_text(said)
    assert [harm for harm in seen.harm if "404" not in harm] == []
    await page.get_by_role("link", name="All traces").click()
    await expect(page.locator("table.traces tbody tr")).to_have_count(2)
    assert page.url == f"{url}/"


async def test_who_mistypes_an_address_and_is_not_logged_in_is_asked_where_that_tells_something(
    page: Page, viewing: Any
) -> None:
    async with viewing(password="correct horse battery") as url:
        await page.goto(f"{url}/banana")
        await expect(page.get_by_role("heading")).to_have_text("There is no such page")
        await page.goto(f"{url}/t/zzzz")
        await log_in(page)
        await expect(page.get_by_role("heading")).to_have_text("There is no such trace")
        await page.get_by_role("link", name="All traces").click()
        await expect(page.locator("table.traces tbody tr")).to_have_count(2)
