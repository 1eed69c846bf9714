"""Which attributes hold what people and models said: prompts, answers, arguments and results of tools, documents.

By the words in their names, as each instrumentation has names of its own and most use the same words; what a name says
of the content (its role, its kind, how long it is) is no content.
"""

import re
from functools import lru_cache

SAID = """
    prompt prompts completion completions input inputs output outputs messages message content contents body arguments
    args kwargs result results return response request document documents query question answer text texts transcript
    instructions thinking reasoning thought thoughts parameters variables template value values events definitions
    embedding embeddings vector history context contexts ctx chat object data choices statement snippet summary
    description payload params memory plan todos diff command commands task tasks node nodes stacktrace exception item
    items path
"""
WORDS = frozenset(SAID.split())
OF_IT = """
    role type kind name id ids index version count length size tokens token model reason reasons finish mime format
    status code method url host port bytes chars score provider temperature ms s seconds ns time timestamp cost escaped
"""
ABOUT = frozenset(OF_IT.split())
"""Words that a name ends with where it is about the content."""

NEVER = ("gen_ai.usage.", "gen_ai.request.", "llm.token_count.", "gen_ai.token", "llm.usage.", "http.", "url.", "net.")
STILL = (
    *("http.request.body", "http.response.body"),
    *(f"gen_ai.request.{said}" for said in ("instructions", "message", "prompt", "content", "input", "tool_result")),
    "gen_ai.request.functions.",  # AgentOps
)
PARTS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")


@lru_cache(20_000)
def is_content(key: str) -> bool:
    """Whether an attribute of this name holds content."""
    if key.startswith(NEVER) and not key.startswith(STILL):
        return False
    words = [part.lower() for part in PARTS.findall(key) if not part.isdigit()]
    return bool(words) and words[-1] not in ABOUT and not WORDS.isdisjoint(words)
