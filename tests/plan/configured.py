"""A configuration that runs, and what is wrong with one that does not."""

import pytest

from otel_bridge import plan
from otel_bridge.errors import PlanError

GOOD = """\
receivers:
  otlp: {http: "127.0.0.1:0", grpc: null}
exporters:
  file: {path: out.jsonl}
  file/second: {path: "${env:OUT:-second.jsonl}"}
service:
  data_dir: /tmp/somewhere
  journal: {max_bytes: 64MiB, max_age: 2h}
  pipelines:
    main: {receivers: [otlp], exporters: [file, file/second]}
"""


def mistakes(text: str, **environ: str) -> list[str]:
    with pytest.raises(PlanError) as caught:
        plan.parse(text, "bridge.yaml", environ=environ)
    return list(caught.value.mistakes)
