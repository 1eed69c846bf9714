"""The configuration as a JSON schema, for editors and for who writes one."""

from typing import Any

from pydantic import BaseModel

from otel_bridge import registry
from otel_bridge.plan.planned import ServiceConfig, partial

REFERENCE_SCHEMA = {"type": "string", "pattern": r"\$\{(env|file):"}
ANNOTATIONS = ("title", "description", "default", "examples")


def schema() -> dict[str, Any]:
    """The JSON schema of a configuration file, with every component that is installed."""
    definitions: dict[str, Any] = {}

    def of(model: type[BaseModel]) -> Any:
        made = model.model_json_schema(mode="serialization")  # in which defaults have their units
        definitions.update({name: _or_reference(one) for name, one in made.pop("$defs", {}).items()})
        return _or_reference(made)

    sections: dict[str, Any] = {}
    for section in registry.SECTIONS:
        patterns = {}
        for name in registry.names(section):
            found = registry.find(section, name)
            if found is not None:
                # What an exporter requires may stand with each tenant instead.
                model = partial(found.config) if section == "exporters" else found.config
                patterns[f"^{name}(/.+)?$"] = {"anyOf": [{"type": "null"}, of(model)]}
        sections[section] = {"type": "object", "patternProperties": patterns, "additionalProperties": False}
    sections["service"] = of(ServiceConfig)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "otel-bridge configuration",
        "type": "object",
        "properties": sections,
        "required": ["receivers", "exporters", "service"],
        "additionalProperties": False,
        "$defs": definitions,
    }


def _or_reference(node: Any) -> Any:
    """The same schema; where a value must have a form, a reference to the environment may stand in its place."""
    if isinstance(node, list):
        return [_or_reference(one) for one in node]
    if not isinstance(node, dict):
        return node
    if node.get("type") in ("integer", "number", "boolean") or not {"pattern", "enum", "const"}.isdisjoint(node):
        form = {key: value for key, value in node.items() if key not in ANNOTATIONS}
        notes = {key: value for key, value in node.items() if key in ANNOTATIONS}
        return {"anyOf": [form, REFERENCE_SCHEMA], **notes}
    return {key: value if key == "default" else _or_reference(value) for key, value in node.items()}
