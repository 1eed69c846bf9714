"""A chain of LangChain with no line of telemetry in it: `otel-bridge run` instruments it.

$ pip install langchain-openai opentelemetry-instrumentation-genai-langchain
$ otel-bridge run -- python examples/langchain_chat.py Lisbon
answer 1
"""

import sys

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI


def main(city: str) -> None:
    prompt = ChatPromptTemplate.from_messages([("system", "You know cities."), ("user", "What is {city} like?")])
    chain = prompt | ChatOpenAI(model="gpt-4o-mini") | StrOutputParser()
    print(chain.invoke({"city": city}))


if __name__ == "__main__":
    main(sys.argv[1])
