"""One trace on the page: its tree, its messages, what of it runs still, and scores that are given there."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from playwright.async_api import Page, expect

from otel_bridge.batch import Batch
from otel_bridge.errors import RetryableError
from otel_bridge.message_parts import CALL_KINDS, RESULT_KINDS, THOUGHT_KINDS
from otel_bridge.model import Score, Translation
from tests.viewer.conftest import OPEN, START, TRACE, FakeBridge, harmful
from tests.viewer.page.browser import IN_A_BROWSER, writing

pytestmark = IN_A_BROWSER


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


async def test_it_leads_to_the_trace_in_langfuse_and_nowhere_that_acts(
    page: Page, url: str, bridge: FakeBridge
) -> None:
    bridge.told = {
        "langfuse": {"default": {"trace_url": "https://langfuse.team/project/p/traces/{traceId}"}},
        "other": {"default": {"trace_url": "javascript:alert(1)"}},
    }
    await page.goto(f"{url}/t/{TRACE}")
    link = page.get_by_role("link", name="open in")
    await expect(link).to_have_count(1)
    await expect(link).to_have_text("open in langfuse")
    await expect(link).to_have_attribute("href", f"https://langfuse.team/project/p/traces/{TRACE}")
    await expect(link).to_have_attribute("rel", "noopener noreferrer")


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
