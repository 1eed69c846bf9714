"""The page's own copy of what parts of messages are called, read without a browser."""

import json
import re
from importlib.resources import files

from otel_bridge import message_parts

WORDS = re.compile(r"^const ([A-Z_]+) = (\[.*\]);$", re.MULTILINE)


def test_the_page_has_the_words_of_messages_in_the_order_of_the_terminal() -> None:
    script = (files("otel_bridge.viewer") / "ui" / "messages.js").read_text(encoding="utf-8")
    page = {name: json.loads(words) for name, words in WORDS.findall(script)}
    terminal = {name: list(words) for name, words in vars(message_parts).items() if isinstance(words, tuple)}

    assert page == terminal
