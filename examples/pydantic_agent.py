"""An agent of Pydantic AI with a tool, and no line of telemetry: `otel-bridge run` switches on what is built in.

$ pip install "pydantic-ai-slim[openai]"
$ otel-bridge run -- python examples/pydantic_agent.py "What is the weather like in Lisbon?"
answer 1
"""

import sys

from pydantic_ai import Agent

agent = Agent("openai-chat:gpt-4o-mini", name="guide", instructions="You know cities.")


@agent.tool_plain
def weather(city: str) -> str:
    """What the weather is like in a city."""
    return f"{city} is warm and dry."


if __name__ == "__main__":
    print(agent.run_sync(sys.argv[1]).output)
