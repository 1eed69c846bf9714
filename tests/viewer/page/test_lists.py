"""The lists of the page: traces and sessions, how they lead on, and what stands there where nothing does."""

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from otel_bridge.model import Level, Observation, ObservationType, TraceAttributes, Translation
from otel_bridge.query.filter import FIELDS
from tests.query.conftest import COSTS, DURATIONS
from tests.viewer.conftest import START, TRACE, FakeBridge
from tests.viewer.page.browser import IN_A_BROWSER, writing

pytestmark = IN_A_BROWSER


async def test_a_list_that_changes_keeps_the_focus_and_the_way_back(page: Page, url: str, data_dir: Path) -> None:
    """A trace comes above, and the one that has the focus changes; back from a trace, as many are there as before."""

    def more(numbers: range, **said: Any) -> list[Observation]:
        traces = [TraceAttributes(f"{number:032x}", name=f"trace {number}") for number in numbers]
        return [Observation("01" * 8, trace.trace_id, None, ObservationType.SPAN, "one",
                            START + number * 10**13, START + number * 10**13 + 1, trace, **said)
                for number, trace in zip(numbers, traces, strict=True)]  # fmt: skip

    with writing(data_dir) as writer:
        writer.settled(Translation(observations=more(range(1, 61))))
        await page.goto(url)
        rows = page.locator("table.traces tbody tr")
        await expect(rows).to_have_count(50)
        link = page.get_by_role("link", name="trace 60", exact=True)
        await link.focus()
        writer.settled(Translation(observations=[*more(range(61, 62)), *more(range(60, 61), level=Level.ERROR)]))
        await expect(rows.nth(0)).to_contain_text("trace 61", timeout=15_000)
    await expect(rows.nth(1).get_by_role("img", name="error")).to_be_visible()
    await expect(link).to_be_focused()
    await page.get_by_role("button", name="Show more").click()
    await expect(rows).to_have_count(63)
    await page.get_by_role("link", name="trace 5", exact=True).click()
    await expect(page.get_by_role("tree")).to_be_visible()
    await page.go_back()
    await expect(rows).to_have_count(63)
    await expect(page.get_by_role("link", name="trace 5", exact=True)).to_be_in_viewport()
    await expect(page.get_by_role("link", name="trace 5", exact=True)).to_be_focused()


async def test_all_of_a_row_leads_to_its_trace(page: Page, url: str) -> None:
    """In another tab by the middle button or Ctrl; text in it can be marked, and a link in it leads where it says."""
    await page.goto(url)
    row = page.locator("table.traces tbody tr").nth(1)
    tokens, started = row.locator("td").nth(3), row.locator("time")
    for how in ({"button": "middle"}, {"modifiers": ["Control"]}):
        async with page.context.expect_page() as opened:
            await tokens.click(**how)
        other = await opened.value
        await expect(other.get_by_role("treeitem")).to_have_count(3)
        await other.close()
        assert (page.url, page.context.pages) == (f"{url}/", [page])

    box = await started.bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    await page.mouse.move(box["x"] + 1, y)
    await page.mouse.down()
    await page.mouse.move(box["x"] + box["width"] - 1, y)
    await page.mouse.up()
    assert "2023-11-14" in await page.evaluate("getSelection().toString()")
    assert page.url == f"{url}/"

    await tokens.click()
    await expect(page.get_by_role("treeitem")).to_have_count(3)
    assert page.url == f"{url}/#/t/{TRACE}"
    await page.go_back()
    await expect(row.locator("td.name a")).to_be_focused()
    await row.locator("td.session a").click()
    await expect(page.locator(".turn")).to_have_count(1)
    await page.get_by_role("link", name="Sessions").click()
    await page.locator("table.sessions tbody td.number").first.click()
    await expect(page.locator(".turn")).to_have_count(1)


async def test_a_session_is_read_as_a_conversation(page: Page, url: str, data_dir: Path) -> None:
    """From the list of sessions to one, whose next turn comes while it is read, to a trace of it and back."""

    def turn(number: int, user: str) -> Translation:
        said = {
            "user_id": user,
            "session_id": "week/planning #1?",
            "input": [{"role": "user", "content": f"ask {number}"}],
        }
        trace = TraceAttributes(f"{number:032x}", name=f"turn {number}", output=f"answer {number}", **said)
        begin_ns = START + number * 10**9
        return Translation(traces=[trace], observations=[
            Observation("01" * 8, trace.trace_id, None, ObservationType.GENERATION, "chat", begin_ns, begin_ns + 1,
                        trace, usage={"total": 20}, cost={"total": 0.01})
        ])  # fmt: skip

    with writing(data_dir) as writer:
        for number in (2, 1):
            writer.settled(turn(number, ("ada", "bob")[number % 2]))
        await page.goto(url)
        await page.get_by_role("link", name="Sessions").click()
        row = page.locator("table.sessions").get_by_role("row").filter(has_text="week/planning")
        await expect(row).to_contain_text("week/planning #1?")
        for cell in ("2", "40", "$0.02", "ada, bob"):
            await expect(row.get_by_role("cell", name=cell, exact=True)).to_be_visible()
        await row.get_by_role("link").click()

        turns = page.locator(".turn")
        await expect(turns).to_have_count(2)
        await expect(turns.nth(0)).to_contain_text("ask 1")
        await expect(turns.nth(1)).to_contain_text("answer 2")
        summary = page.locator(".summary")
        await expect(summary).to_contain_text("2 traces")
        await expect(summary).to_contain_text("2023-11-14 22:13:21 UTC to 2023-11-14 22:13:22 UTC")
        link = page.get_by_role("link", name="turn 2")
        await link.focus()
        writer.settled(turn(3, "ada"))
        await expect(turns).to_have_count(3, timeout=15_000)
    await expect(link).to_be_focused()
    await expect(summary).to_contain_text("60 tokens")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("tree")).to_be_focused()
    await page.go_back()
    await expect(link).to_be_focused()
    await page.goto(f"{url}/#/s/nobody")
    await expect(page.locator("main h1")).to_have_text("There is no such session")


async def test_times_are_of_utc_wherever_the_browser_is(browser: Browser, url: str) -> None:
    """As days of a filter are; that of the machine is said on pointing at one."""
    async with await browser.new_context(timezone_id="Asia/Tokyo", locale="en-GB") as context:
        page = await context.new_page()
        await page.goto(url)
        time = page.locator("time").last
        await expect(time).to_have_text("2023-11-14 22:13 UTC")
        await expect(time).to_have_attribute("title", "2023-11-14T22:13:20.100000Z, here 15/11/2023, 07:13:20")
        await page.goto(f"{url}/#/t/{TRACE}")
        await expect(page.locator(".summary")).to_contain_text("2023-11-14 22:13:20 UTC")


@pytest.mark.parametrize(("what", "said"), [("cost", COSTS), ("duration", DURATIONS)])
async def test_numbers_are_written_as_in_the_terminal(page: Page, url: str, what: str, said: dict[float, str]) -> None:
    await page.goto(url)
    write = f"async (numbers) => numbers.map((await import('./elements.js')).{what})"
    assert dict(zip(said, await page.evaluate(write, list(said)), strict=True)) == said


async def test_a_mistake_in_the_filter_is_said(page: Page, url: str) -> None:
    await page.goto(url)
    await page.fill("#filter", "nme:x")
    await page.keyboard.press("Enter")

    await expect(page.locator("#problem")).to_contain_text("did you mean name?")
    await expect(page.locator("#live")).to_have_text("live")


async def test_a_filter_that_finds_nothing_tells_of_all_fields(page: Page, url: str) -> None:
    await page.goto(f"{url}/#/?filter=name%3Anobody")
    await expect(page.locator(".empty h1")).to_have_text("No trace matches this filter")
    words = set(re.findall(r"\w+(?:\.\w+)?", await page.locator(".empty p").inner_text()))
    assert words >= set(FIELDS)


def empty(data_dir: Path) -> None:
    for file in data_dir.glob("store.db*"):
        file.unlink()


@pytest.mark.parametrize(
    ("endpoints", "address", "protocol"),
    [
        ({"otlp": {"grpc": "http://127.0.0.1:1", "http": "https://10.0.0.7:2"}}, "https://10.0.0.7:2", "http/protobuf"),
        ({"viewer": {"viewer": "http://127.0.0.1:3"}, "otlp/b": {"grpc": "http://[::]:4"}}, "http://[::1]:4", "grpc"),
        ({"otlp": {"http": "http://0.0.0.0:5"}}, "http://127.0.0.1:5", "http/protobuf"),
    ],
)
async def test_where_no_trace_has_come_the_page_says_how_one_does(
    page: Page, url: str, data_dir: Path, bridge: FakeBridge, endpoints: Any, address: str, protocol: str
) -> None:
    """By a command that sends to where the bridge listens, in the protocol of the port that it names."""
    bridge.endpoints = endpoints
    empty(data_dir)
    with writing(data_dir):
        await page.goto(url)
        await expect(page.locator(".empty h1")).to_have_text("No traces yet")
        first, second, _ = await page.locator(".empty pre").all_inner_texts()
    assert first == "otel-bridge run -- python agent.py"
    assert second.splitlines() == [
        f"export OTEL_EXPORTER_OTLP_ENDPOINT={address}",
        f"export OTEL_EXPORTER_OTLP_PROTOCOL={protocol}",
        "python agent.py",
    ]


async def test_where_the_bridge_takes_no_otlp_the_page_names_no_address(
    page: Page, url: str, data_dir: Path, bridge: FakeBridge
) -> None:
    bridge.endpoints = {"viewer": {"viewer": url}}
    empty(data_dir)
    with writing(data_dir):
        await page.goto(url)
        await expect(page.locator(".empty h1")).to_have_text("No traces yet")
        assert "OTLP" not in await page.locator(".empty").inner_text()
