"""A page of a real browser, and a viewer in its loop."""

from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright

from tests.viewer.page.browser import ARGUMENTS, BROWSER


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=BROWSER, args=ARGUMENTS)
        yield started
        await started.close()


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser: Browser) -> AsyncIterator[Page]:
    """Of a context of its own: nothing is left of the page before."""
    async with await browser.new_context() as context:
        yield await context.new_page()


@pytest_asyncio.fixture(loop_scope="module")
async def url(viewing: Any) -> AsyncIterator[str]:
    """Of a viewer in the loop of the page."""
    async with viewing() as address:
        yield address
