"""What a user thinks of an answer, later and in another process: a score in each backend that the bridge sends to.

The bridge has the backends, and the agent knows none of them:

    exporters:
      store: {}
      langfuse/product: {public_key: "${env:PRODUCT_PUBLIC_KEY}", secret_key: "${env:PRODUCT_SECRET_KEY}"}
      langfuse/quality: {public_key: "${env:QUALITY_PUBLIC_KEY}", secret_key: "${env:QUALITY_SECRET_KEY}"}

    $ python examples/feedback.py ask "Lisbon or Oslo?"
    Lisbon.
    what do you think? python examples/feedback.py up 00-0e493970c575ba87ed46f62c696c14ac-752a86592bcfa218-03
    $ python examples/feedback.py up 00-0e493970c575ba87ed46f62c696c14ac-752a86592bcfa218-03
    thank you
"""

import sys

from otel_bridge.sdk import agent_run, answered, correlation, feedback, install, llm_call, score
from otel_bridge.sdk.web import outgoing


def ask(question: str) -> str:
    """Returns what names the answer: for a page's button, say."""
    with agent_run("guide", task=question):
        with llm_call("gpt-4o-mini", provider="openai", messages=question) as call:  # a pretended one
            call.tags.update(answered(output="Lisbon.", input_tokens=12, output_tokens=2))
        print("Lisbon.")
        return outgoing()["traceparent"]


def main(word: str, said: str) -> None:
    install(service="guide")
    if word == "ask":
        with correlation(session="s-9", user="ada"):
            print(f"what do you think? python examples/feedback.py up {ask(said)}")
        return
    feedback("up" if word == "up" else "down", comment="short and clear", on=said, user="ada")
    score("clarity", 0.9, on=said)
    print("thank you")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
