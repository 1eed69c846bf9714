"""A bridge or a store that is not there is said, and found again."""

from pathlib import Path

from playwright.async_api import Page, expect

from tests.viewer.page.browser import IN_A_BROWSER

pytestmark = IN_A_BROWSER


async def test_a_bridge_that_is_gone_is_said(page: Page, url: str) -> None:
    await page.goto(url)
    await expect(page.locator("#live")).to_have_text("live")
    await page.route("**/api/**", lambda route: route.abort())

    await expect(page.locator("#live")).to_have_text("not connected", timeout=15_000)
    await expect(page.locator("#problem")).to_contain_text("does not answer")


async def test_a_store_that_is_not_there_yet_is_said_and_found_later(page: Page, url: str, data_dir: Path) -> None:
    """The page asks again by itself."""
    aside = (data_dir / "store.db").rename(data_dir / "aside.db")
    await page.goto(url)
    await expect(page.locator("#problem")).to_contain_text("there is no store")
    aside.rename(data_dir / "store.db")

    await expect(page.locator("table.traces tbody tr")).to_have_count(2, timeout=15_000)
    await expect(page.locator("#problem")).to_be_hidden()
