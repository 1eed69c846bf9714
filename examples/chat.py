"""A chat with no line of telemetry in it: `otel-bridge run` instruments its OpenAI client.

$ pip install openai opentelemetry-instrumentation-genai-openai
$ otel-bridge run -- python examples/chat.py "Lisbon or Oslo?" "And in May?"
> Lisbon or Oslo?
answer 1
> And in May?
answer 2
otel-bridge: 2 traces · 2 spans · 44 tokens · $8.4e-06 · otel-bridge trace f9f72328
"""

import sys
from typing import Any

from openai import OpenAI


def main(questions: list[str]) -> None:
    client = OpenAI()
    messages: list[Any] = []
    for question in questions:
        print(f"> {question}")
        messages.append({"role": "user", "content": question})
        answer = client.chat.completions.create(model="gpt-4o-mini", messages=messages).choices[0].message.content
        messages.append({"role": "assistant", "content": answer})
        print(answer)


if __name__ == "__main__":
    main(sys.argv[1:])
