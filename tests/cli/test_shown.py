"""What `config print` shows of a configuration with tenants is what applies to them."""

import json
import re
from pathlib import Path

import pytest

from otel_bridge.cli.configuration import print_config

CONFIG = """\
receivers: {otlp: {}}
processors:
  redact:
    packs: [secrets, pii]
    content: truncated
    tenants: {acme: {content: none}}
  sample:
    rate: 0.5
    tenants: {acme: {budget: {traces: 100}}}
exporters: {store: {}}
service:
  tenants: {acme: {keys: [acme-key-0123456789]}}
  pipelines:
    main: {receivers: [otlp], processors: [redact, sample], exporters: [store]}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "bridge.yaml"
    path.write_text(CONFIG)
    return path


def test_a_tenant_has_what_all_have(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not the defaults: they do not apply where something is said for all."""
    print_config(config, json=True)
    processors = json.loads(capsys.readouterr().out)["processors"]

    acme = processors["redact"]["tenants"]["acme"]
    assert (acme["packs"], acme["content"]) == (["secrets", "pii"], "none")
    assert processors["sample"]["tenants"]["acme"] == {
        "policies": [],
        "rate": 0.5,
        "budget": {"traces": 100, "observations": None},
    }


def test_where_a_tenant_has_it_from_is_said(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_config(config, sources=True, json=True)
    source = {row["path"]: row["source"] for row in json.loads(capsys.readouterr().out)}

    assert source["processors::redact::tenants::acme::content"] == "bridge.yaml:6"
    assert source["processors::redact::tenants::acme::packs"] == "as for all: bridge.yaml:4"
    assert source["processors::redact::tenants::acme::truncate_to"] == "as for all: default"
    assert source["processors::sample::tenants::acme::rate"] == "as for all: bridge.yaml:8"


def test_what_is_printed_is_the_same_configuration(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_config(config, json=True)
    first = capsys.readouterr().out
    config.write_text(re.sub(r'"\*+"', '"acme-key-0123456789"', first))
    print_config(config, json=True)

    assert capsys.readouterr().out == first
