"""The page in a real browser: it shows what there is, and what a trace holds stays text."""

import re
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from playwright.async_api import Browser, Page, async_playwright, expect

from otel_bridge.batch import Batch
from otel_bridge.errors import RetryableError
from otel_bridge.message_parts import CALL_KINDS, RESULT_KINDS, THOUGHT_KINDS
from otel_bridge.model import Level, Observation, ObservationType, Score, TraceAttributes, Translation
from otel_bridge.query.filter import FIELDS
from otel_bridge.store.writer import Writer
from otel_bridge.telemetry import Counters
from tests.query.conftest import COSTS, DURATIONS
from tests.viewer.conftest import OPEN, START, harmful

TRACE = "0af7651916cd43dd8448eb211c80319c"
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

pytestmark = [
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


@contextmanager
def writing(data_dir: Path) -> Iterator[Writer]:
    writer = Writer(data_dir / "store.db", max_age_s=1e9, max_bytes=1 << 30, counters=Counters())
    yield writer
    writer.close()


async def log_in(page: Page) -> None:
    await page.get_by_label("Password").fill("correct horse battery")
    await page.keyboard.press("Enter")


def empty(data_dir: Path) -> None:
    for file in data_dir.glob("store.db*"):
        file.unlink()


async def test_lists_traces_and_shows_one(page: Page, url: str) -> None:
    """From the list to a trace's tree, to the messages of the generation that was clicked, to its failure by key."""
    await page.goto(url)
    rows = page.locator("table.traces tbody tr")
    await expect(rows).to_have_count(2)
    await expect(rows.nth(0)).to_contain_text("still running")
    await rows.nth(1).locator("td.name a").click()

    tree = page.locator(".tree .row")
    await expect(tree).to_have_count(3)
    await expect(tree.nth(0)).to_contain_text("AGENTplanner")
    await tree.nth(1).click()
    await expect(page.locator(".detail .message")).to_have_count(15)
    await expect(page.locator(".detail")).to_contain_text("<script>alert(1)</script>")
    await expect(page.locator(".detail details.call")).to_have_count(2)
    await page.locator(".detail details.call summary").first.click()
    await expect(page.locator(".detail details.call[open]")).to_contain_text("a city's name")
    await page.locator(".detail .score summary").click()
    await expect(page.locator(".detail .score p")).to_be_visible()
    await tree.nth(1).click()
    await page.keyboard.press("e")
    await expect(page.locator(".detail .failure")).to_contain_text("ERROR")
    assert page.url.endswith(f"#/t/{TRACE}/{3:016x}")


async def test_nodes_of_a_tree_close_and_open(page: Page, url: str, data_dir: Path) -> None:
    """By left and right, as trees do everywhere, and by a click; what is below a closed one is passed over, and shown
    where it is chosen otherwise. It stays so while traces come.
    """
    made = harmful()
    made.observations[1].parent_id, made.observations[2].parent_id = f"{1:016x}", f"{2:016x}"
    with writing(data_dir) as writer:
        writer.settled(made)
    await page.goto(f"{url}/#/t/{TRACE}/{2:016x}")
    tree = page.get_by_role("tree")
    rows, chosen = tree.get_by_role("treeitem"), tree.get_by_role("treeitem", selected=True)
    await expect(rows).to_have_count(3)
    await expect(tree).to_be_focused()
    await page.keyboard.press("ArrowLeft")
    await expect(rows).to_have_count(2)
    await expect(tree.get_by_role("treeitem", expanded=False)).to_contain_text("2 <script>")
    await page.keyboard.press("ArrowDown")
    await expect(chosen).to_contain_text("2 <script>")
    await page.keyboard.press("ArrowLeft")
    await expect(chosen).to_contain_text("planner")
    await page.keyboard.press("ArrowRight")
    await expect(chosen).to_contain_text("2 <script>")
    await page.keyboard.press("e")
    await expect(chosen).to_contain_text("3 <script>")
    await expect(rows).to_have_count(3)
    await rows.first.locator(".fold").click()
    await expect(rows).to_have_count(1)
    await expect(chosen).to_contain_text("planner")
    with writing(data_dir) as writer:
        writer.settled(Translation(scores=[Score("c", "late", 1.0, "NUMERIC", START, trace_id=TRACE)]))
    await expect(page.locator(".summary")).to_contain_text("late = 1", timeout=15_000)
    await expect(rows).to_have_count(1)
    await page.keyboard.press("ArrowRight")
    await expect(rows).to_have_count(3)


async def test_what_is_chosen_stays_in_sight_where_it_comes_below_what_is_closed(
    page: Page, url: str, data_dir: Path
) -> None:
    """As when a parent comes late."""
    made = harmful()
    made.observations.append(replace(made.observations[2], id=f"{4:016x}", parent_id=f"{2:016x}"))
    with writing(data_dir) as writer:
        writer.settled(made)
    await page.goto(f"{url}/#/t/{TRACE}/{3:016x}")
    tree = page.get_by_role("tree")
    rows = tree.get_by_role("treeitem")
    await expect(rows).to_have_count(4)
    await rows.filter(has_text="2 <script>").locator(".fold").click()
    await expect(rows).to_have_count(3)
    made.observations[2].parent_id = f"{2:016x}"
    with writing(data_dir) as writer:
        writer.settled(made)
    await expect(tree.get_by_role("treeitem", expanded=False)).to_have_count(0, timeout=15_000)
    await expect(tree.get_by_role("treeitem", selected=True)).to_contain_text("3 <script>")
    await expect(rows).to_have_count(4)


async def test_what_a_span_says_nothing_of_has_no_row(page: Page, url: str, data_dir: Path) -> None:
    made = harmful()
    made.observations[0].scope_name = "agent"
    with writing(data_dir) as writer:
        writer.settled(made)
    await page.goto(f"{url}/#/t/{TRACE}")
    scope = page.locator(".detail h3").filter(has_text="Scope")
    await expect(scope.locator("+ dl dt")).to_have_text(["name"])
    await page.get_by_role("treeitem").last.click()
    await expect(page.locator(".detail h2")).to_contain_text("3 <script>")
    await expect(scope).to_have_count(0)


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


async def test_messages_are_shown_as_in_the_terminal(page: Page, url: str, data_dir: Path) -> None:
    """Calls, results and thoughts in whatever words, each call by the id that its result names; what a message has
    besides; and a role that is no text at all.
    """
    call = {"name": "add", "id": "own", "call_id": "c1", "arguments": "1"}
    result = {"tool_name": "add", "id": "own", "tool_use_id": "c1", "result": "2"}
    parts = [*({"type": kind, **call} for kind in CALL_KINDS), *({"type": kind, **result} for kind in RESULT_KINDS)]
    thoughts = [{"type": kind, "reasoning": "hm"} for kind in THOUGHT_KINDS]
    said = [
        {"role": {"toString": 1}, "content": [*parts, *thoughts], "parts": ["Beside the content."]},
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "hm",
            "refusal": "I will not.",
            "finish_reason": "stop",
        },
    ]
    made = harmful()
    made.observations[1].input, made.observations[1].output = said, {"role": "admin", "user": "ada"}
    with writing(data_dir) as writer:
        writer.settled(made)
    await page.goto(f"{url}/#/t/{TRACE}/{2:016x}")
    calls = page.locator(".detail .call > .role")
    shown = ["call · add · c1"] * len(CALL_KINDS) + ["result · add · c1"] * len(RESULT_KINDS)
    await expect(calls).to_have_text(shown)
    await expect(page.locator(".detail .thinking")).to_have_text(["hm"] * (len(THOUGHT_KINDS) + 1))
    await expect(page.locator(".detail .message > .role").last).to_have_text("assistant · finish_reason: stop")
    await expect(page.locator(".detail dt").filter(has_text="finish_reason")).to_have_count(0)
    detail = page.locator(".detail")
    for content in ("Beside the content.", "I will not.", '"user": "ada"'):
        await expect(detail).to_contain_text(content)
    await expect(page.locator("#live")).to_have_text("live")


@pytest.mark.parametrize(("what", "said"), [("cost", COSTS), ("duration", DURATIONS)])
async def test_numbers_are_written_as_in_the_terminal(page: Page, url: str, what: str, said: dict[float, str]) -> None:
    await page.goto(url)
    write = f"async (numbers) => numbers.map((await import('./elements.js')).{what})"
    assert dict(zip(said, await page.evaluate(write, list(said)), strict=True)) == said


async def test_of_two_traces_with_one_id_each_is_shown_and_leads_to_the_other(
    page: Page, url: str, data_dir: Path
) -> None:
    with writing(data_dir) as writer:
        writer.settled(replace(harmful(), tenant="<b>acme&"))
    await page.goto(url)
    rows = page.locator("table.traces tbody tr")
    await expect(rows).to_have_count(3)
    await rows.filter(has_text="<b>acme&").locator("td.name a").click()
    facts = page.locator(".facts")
    await expect(facts.first).to_contain_text("tenant <b>acme&the same id: default")
    await page.reload()
    await facts.first.get_by_role("link", name="default").click()
    await expect(facts.first).to_contain_text("tenant defaultthe same id: <b>acme&")
    await page.locator(".tree .row").nth(1).click()
    assert page.url.endswith(f"#/t/{TRACE}/{2:016x}?tenant=default")
    await facts.first.get_by_role("link").first.click()
    await expect(page.locator(".turn")).to_have_count(1)
    await page.get_by_role("link", name="as a list").click()
    await expect(rows).to_have_count(1)
    await page.goto(f"{url}/t/{TRACE}?tenant=%3Cb%3Eacme%26")
    await expect(facts.first).to_contain_text("tenant <b>acme&the same id: default")


async def test_rows_of_a_tree_stay_in_line_however_long_they_took(page: Page, url: str, data_dir: Path) -> None:
    with writing(data_dir) as writer:
        writer.batch(running(7190))
    await page.goto(f"{url}/#/t/{OPEN}")
    tooks = page.locator(".tree .row .took")
    await expect(tooks).to_have_text(["119 min 50 s …", "119 min 50 s …", "0.00 ms"])
    measured = "(all) => all.map((each) => [each.offsetHeight, each.offsetLeft, each.scrollWidth > each.clientWidth])"
    long, _, short = await tooks.evaluate_all(measured)
    assert long == short


def running(seconds: int) -> Batch:
    """That two spans of the trace OPEN have not ended after so long."""
    request = ExportLogsServiceRequest()
    records = request.resource_logs.add().scope_logs.add().log_records
    for span, name in ((2, "agent"), (3, "chat")):
        record = records.add(trace_id=bytes.fromhex(OPEN), span_id=span.to_bytes(8),
                             event_name="otel_bridge.span.heartbeat",
                             time_unix_nano=START + (1000 + seconds) * 10**9)  # fmt: skip
        record.attributes.add(key="otel_bridge.span.name").value.string_value = name
        record.attributes.add(key="otel_bridge.span.start_time_unix_nano").value.int_value = START + 1000 * 10**9
    return Batch.from_request(request)


async def test_a_trace_that_runs_still_is_shown_as_one(page: Page, url: str, data_dir: Path) -> None:
    """What has not ended is named and marked; what comes of it meanwhile changes neither focus nor choice."""
    with writing(data_dir) as writer:
        writer.batch(running(60))
        await page.goto(f"{url}/#/t/{OPEN}")
        await expect(page.locator(".unfinished")).to_contain_text("still running: agent and chat have not ended")
        tree = page.get_by_role("tree")
        await expect(tree).to_be_focused()
        await expect(tree.locator(".row.open")).to_have_count(2)
        await page.keyboard.press("End")
        await page.keyboard.press("ArrowUp")
        chosen = tree.get_by_role("treeitem", selected=True)
        await expect(chosen).to_contain_text("chat")
        writer.batch(running(120))
        await expect(chosen).to_contain_text("2 min 00 s", timeout=15_000)
    await expect(tree).to_be_focused()
    await expect(chosen).to_contain_text("chat")
    assert await tree.get_attribute("aria-activedescendant") == await chosen.get_attribute("id")
    await expect(page.locator("main")).not_to_contain_text("null")


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


async def test_a_score_is_given_by_hand(page: Page, url: str, bridge: Any) -> None:
    """Of the trace, and of what is chosen in it; a refusal is said, and keeps what was typed."""
    await page.goto(f"{url}/#/t/{TRACE}/{2:016x}")
    form = page.locator(".scoring")
    await form.get_by_text("Score", exact=True).click()
    await form.get_by_label("value").fill("0.5")
    await form.get_by_label("comment").press_sequentially("1/2 <b>of it")
    await page.keyboard.press("Enter")
    await expect(form.get_by_role("status")).to_contain_text("Taken")
    await form.get_by_role("combobox").select_option("the chosen observation")
    await form.get_by_label("value").fill("wrong")
    await form.get_by_role("button").click()
    await expect(form.get_by_label("value")).to_have_value("")
    records = [batch.request.resource_logs[0].scope_logs[0].log_records[0] for batch in bridge.batches]
    assert [record.span_id.hex() for record in records] == ["", f"{2:016x}"]
    said = [{pair.key.rpartition(".")[2]: pair.value for pair in record.attributes} for record in records]
    assert (said[0]["value"].double_value, said[0]["explanation"].string_value) == (0.5, "1/2 <b>of it")
    assert (said[1]["name"].string_value, said[1]["label"].string_value) == ("helpful", "wrong")

    async def full(_: Batch) -> None:
        raise RetryableError("the journal is full")

    bridge.consume = full
    await form.get_by_label("value").fill("true")
    await form.get_by_role("button").click()
    await expect(form.get_by_role("status")).to_have_text("the journal is full")
    await expect(form.get_by_label("value")).to_have_value("true")


async def test_that_a_score_will_show_is_said_until_it_does(page: Page, url: str, data_dir: Path) -> None:
    """Of an observation, on that too."""
    await page.goto(f"{url}/#/t/{TRACE}/{3:016x}")
    form, said = page.locator(".scoring"), page.locator(".scoring output")
    await form.get_by_text("Score", exact=True).click()
    await form.get_by_role("combobox").select_option("the chosen observation")
    await form.get_by_label("value").fill("0.5")
    await page.keyboard.press("Enter")
    await expect(said).to_contain_text("Taken")
    score = Score("c", "helpful", 0.5, "NUMERIC", START, trace_id=TRACE, observation_id=f"{3:016x}")
    with writing(data_dir) as writer:
        writer.settled(Translation(scores=[score]))
    await expect(page.locator(".detail .tag")).to_have_text("helpful = 0.5", timeout=15_000)
    await expect(said).to_have_text("")


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


async def test_where_no_trace_has_come_the_page_says_how_one_does(page: Page, url: str, data_dir: Path) -> None:
    """By a command that sends in the protocol of the port that it names."""
    empty(data_dir)
    with writing(data_dir):
        await page.goto(url)
        await expect(page.locator(".empty h1")).to_have_text("No traces yet")
        first, second, _ = await page.locator(".empty pre").all_inner_texts()
    assert first == "otel-bridge run -- python agent.py"
    assert second.splitlines() == [
        "export OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318",
        "export OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
        "python agent.py",
    ]


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
