"""What a trace holds stays text on the page."""

from playwright.async_api import Page, expect

from tests.viewer.conftest import TRACE
from tests.viewer.page.browser import IN_A_BROWSER, Seen

pytestmark = IN_A_BROWSER


async def test_what_a_trace_holds_is_inert(page: Page, url: str) -> None:
    """Every place that shows content is visited; no script runs, nothing is asked of elsewhere, no policy is broken."""
    seen = Seen(page, url)
    await page.goto(f"{url}/t/{TRACE}")
    tree = page.locator(".tree .row")
    for i, name in enumerate(("planner", "2 <script>", "3 <script>")):
        await tree.nth(i).click()
        await expect(page.locator(".detail h2")).to_contain_text(name)
    for of_user_or_tag in (1, 4):
        await page.locator(".facts a").nth(of_user_or_tag).click()
        await expect(page.locator("table.traces tbody tr")).to_have_count(1)
        await page.go_back()
    await page.locator(".facts a").first.click()
    await expect(page.locator(".turn")).to_have_count(1)
    await page.get_by_role("link", name="as a list").click()
    await expect(page.locator("table.traces tbody tr")).to_have_count(1)
    await page.get_by_role("link", name="Sessions").click()
    await expect(page.locator("table.sessions tbody tr")).to_have_count(1)
    await page.goto(f"{url}/t/{'bb' * 16}")
    await expect(page.locator(".detail")).to_contain_text("<script>alert(1)</script>")

    assert seen.harm == []
    tags = await page.evaluate("[...document.querySelectorAll('main *')].map((node) => node.localName)")
    assert not {"script", "img", "svg", "iframe", "style", "link", "object", "math"} & set(tags)
