"""JSON of anything, that anybody can read."""

import orjson
from hypothesis import given
from hypothesis import strategies as st

from otel_bridge.plain_json import MAX_DEPTH, dump

TEXTS = st.text(st.characters(exclude_categories=()), max_size=5)  # half surrogates as well
LEAVES = st.none() | st.booleans() | st.floats() | st.integers() | st.binary(max_size=3) | st.complex_numbers() | TEXTS
ANY = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.dictionaries(TEXTS | st.integers() | st.none() | st.tuples(TEXTS), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(ANY)
def test_whatever_it_is_it_is_written_and_can_be_read(value: object) -> None:
    orjson.loads(dump(value))


def test_what_json_has_a_word_for_is_as_it_was() -> None:
    value = {"a": [1, -1.5, None, True, "\u00e4\U0001f600"], "b": {"c": 2**64 - 1}}
    assert orjson.loads(dump(value)) == value
    assert orjson.loads(dump({"beside": b"x", **value})) == {"beside": "b'x'", **value}


def test_only_the_deepest_and_the_hugest_go() -> None:
    nested: object = "end"
    for _ in range(1000):
        nested = [nested]
    shown = dump({"n": nested, "beside": 1, "huge": 10**5000})
    assert "nested too deeply" in shown
    assert shown.count("[") == MAX_DEPTH
    assert (orjson.loads(shown)["beside"], orjson.loads(shown)["huge"]) == (1, "a number of 16610 bits")
