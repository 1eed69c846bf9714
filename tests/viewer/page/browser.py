"""What tests of the page share: a real browser, if there is one, and what the store is given to show."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.async_api import Page

from otel_bridge.store.writer import Writer
from otel_bridge.telemetry import Counters

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "/usr/bin/chromium")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

IN_A_BROWSER = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason=f"no browser found: install one of {', '.join(BROWSERS)}"),
]


class Seen:
    """What a page must never cause."""

    def __init__(self, page: Page, url: str) -> None:
        self.harm: list[str] = []
        page.on("dialog", lambda dialog: self.harm.append(f"dialog {dialog.message}"))
        page.on("pageerror", lambda error: self.harm.append(f"error {error}"))
        page.on("console", lambda line: self.harm.append(f"console {line.text}"))
        page.on(
            "request",
            lambda request: None if request.url.startswith((url, "data:,")) else self.harm.append(f"to {request.url}"),
        )


@contextmanager
def writing(data_dir: Path) -> Iterator[Writer]:
    writer = Writer(data_dir / "store.db", max_age_s=1e9, max_bytes=1 << 30, counters=Counters())
    yield writer
    writer.close()


async def log_in(page: Page) -> None:
    await page.get_by_label("Password").fill("correct horse battery")
    await page.keyboard.press("Enter")
