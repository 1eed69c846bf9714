"""The kinds of parts in chat messages, and where they hold what: for who reads them out of spans and who shows them."""

MESSAGE_KEYS = ("content", "parts", "tool_calls", "reasoning_content")
"""What only has a role and none of these, as a user of some program, is no message."""

ABOUT_MESSAGES = ("type", "status", "finish_reason")
"""What a message says of itself in a word, beside its role: it stands there, and is nothing that was said."""

MAX_WORD = 50  # characters: what is longer, or has lines, is no word

SERVER_CALL = "server_tool_call"  # of a tool that the provider runs itself
CALL_KINDS = ("tool_call", "tool_use", "tool-call", "toolUse", SERVER_CALL)
RESULT_KINDS = ("tool_call_response", "tool_result", "tool-result", "server_tool_call_response")
THOUGHT_KINDS = ("reasoning", "thinking")
TEXTS = ("text", "content", "thinking", "reasoning")
TOOL_NAMES = ("name", "tool_name", "toolName")
CALL_IDS = ("tool_use_id", "tool_call_id", "toolCallId", "toolUseId", "call_id", "id")
"""What names a call; a bare `id` last, as an item may have one of its own beside."""
ARGUMENTS = ("arguments", "args", "input", "parameters", "tool_kwargs", "server_tool_call")
ANSWERS = ("response", "result", "content", "output", "server_tool_call_response")
