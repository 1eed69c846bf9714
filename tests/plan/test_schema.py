"""The JSON schema of a configuration: it takes what can be read, and nothing else."""

import copy

from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from otel_bridge import plan
from tests.plan.configured import GOOD


def test_the_schema_knows_every_component_and_refuses_other_keys() -> None:
    made = plan.schema()

    assert {"^file(/.+)?$", "^store(/.+)?$"} <= set(made["properties"]["exporters"]["patternProperties"])
    assert made["properties"]["service"]["additionalProperties"] is False


def test_the_schema_takes_what_can_be_read_and_nothing_else() -> None:
    """As an editor would say it: units, references to the environment, whatever their place."""
    check = Draft202012Validator(plan.schema())
    written = YAML(typ="safe").load(GOOD)
    written["service"]["deliver"] = {"max_batch_items": "${env:ITEMS:-512}", "max_batch_age": "${env:AGE}"}

    assert [error.message for error in check.iter_errors(written)] == []
    for key, wrong in (("max_age", 30), ("max_age", "soon"), ("max_bytes", "1 potato"), ("durability", "never")):
        broken = copy.deepcopy(written)
        broken["service"]["journal"][key] = wrong
        assert [list(error.absolute_path) for error in check.iter_errors(broken)] == [["service", "journal", key]]


def test_the_schema_shows_defaults_as_they_are_written() -> None:
    made = plan.schema()["$defs"]["JournalConfig"]["properties"]

    assert (made["max_bytes"]["default"], made["max_age"]["default"]) == ("8GiB", "7d")
