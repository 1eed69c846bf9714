"""A bridge that asks everybody who they are: its own commands find their way in, and no secret is left anywhere."""

import json
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from otel_bridge.plan import load
from tests.cli.programs import serving

Run = Callable[..., subprocess.CompletedProcess[str]]
pytestmark = pytest.mark.slow  # every test starts a bridge

KEY, PASSWORD = "acme-key-0123456789", "correct horse battery"
CONFIG = """\
receivers:
  otlp: {{grpc: "127.0.0.1:0", http: "127.0.0.1:0", tls: &tls {{cert_file: {cert}, key_file: {key}}}}}
exporters:
  store: {{}}
extensions:
  viewer: {{endpoint: "127.0.0.1:0", password: "${{env:PASSWORD}}", tls: *tls}}
service:
  data_dir: {data_dir}
  strict_permissions: true
  tenants:
    acme: {{keys: ["${{env:ACME_KEY}}"]}}
  pipelines:
    main: {{receivers: [otlp], exporters: [store]}}
"""


def get(url: str, context: ssl.SSLContext, password: str) -> Any:
    asked = urllib.request.Request(url, headers={"Authorization": f"Bearer {password}"})
    with urllib.request.urlopen(asked, context=context) as answer:
        return json.loads(answer.read())


def post(url: str, context: ssl.SSLContext, key: str) -> int:
    headers = {"Content-Type": "application/json", "X-Api-Key": key}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(f"{url}/v1/traces", b"{}", headers), context=context
        ) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_commands_find_their_way_in_and_secrets_stay_where_they_are(
    environ: dict[str, str], run: Run, tmp_path: Path
) -> None:
    ca = trustme.CA()
    issued = ca.issue_cert("127.0.0.1")
    cert, key, authority = (tmp_path / name for name in ("cert.pem", "key.pem", "ca.pem"))
    cert.write_bytes(issued.cert_chain_pems[0].bytes())
    key.touch(mode=0o600)
    issued.private_key_pem.write_to_path(key)
    ca.cert_pem.write_to_path(authority)
    config = tmp_path / "bridge.yaml"
    config.write_text(CONFIG.format(cert=cert, key=key, data_dir=tmp_path / "data"))
    more = {"OTEL_BRIDGE_CONFIG": str(config), "ACME_KEY": KEY, "PASSWORD": PASSWORD}
    context = ssl.create_default_context(cafile=str(authority))

    with serving({**environ, **more}) as (process, said):
        viewer, otlp = said["endpoints"]["viewer"]["viewer"], said["endpoints"]["otlp"]["http"]
        assert viewer.startswith("https://")
        assert (post(otlp, context, KEY), post(otlp, context, KEY + "x")) == (200, 401)

        for words in (["pause", "store"], ["resume", "store"], ["dead-letter", "list"], ["healthcheck"]):
            done = run(*words, more={"OTEL_BRIDGE_CONFIG": str(config)})
            assert done.returncode == 0, done.stdout + done.stderr
        stranger = run("traces", "--url", viewer, more={"SSL_CERT_FILE": str(authority)})
        assert stranger.returncode == 3
        assert "asks for its password: set OTEL_BRIDGE_VIEWER_PASSWORD" in stranger.stderr
        mistaken = {"SSL_CERT_FILE": str(authority), "OTEL_BRIDGE_VIEWER_PASSWORD": "another"}
        assert "has another password than it was shown" in run("traces", "--url", viewer, more=mistaken).stderr
        known = {"SSL_CERT_FILE": str(authority), "OTEL_BRIDGE_VIEWER_PASSWORD": PASSWORD}
        assert run("traces", "--url", viewer, "--json", more=known).returncode == 0

        status = get(f"{viewer}/api/v1/status", context, PASSWORD)
        assert status["insecure"] == []
        limits = Path(f"/proc/{process.pid}/limits").read_text().splitlines()
        assert next(line for line in limits if line.startswith("Max core file size")).split()[4:6] == ["0", "0"]
        written = [json.dumps(said), json.dumps(status)]
        written += [file.read_text("latin-1") for file in (tmp_path / "data").rglob("*") if file.is_file()]
        written += [repr(load(config, environ=more)), json.dumps(load(config, environ=more).to_dict())]
        process.terminate()
        out, err = process.communicate(timeout=30)
    for text in (*written, out, err):
        assert KEY not in text
        assert PASSWORD not in text
    assert '"unauthenticated"' in err


def test_a_bridge_that_everybody_could_reach_does_not_start_unless_it_is_told_to(
    environ: dict[str, str], run: Run
) -> None:
    public = {"OTEL_BRIDGE_HTTP": "0.0.0.0:0"}
    refused = run("serve", more=public)
    assert refused.returncode == 78
    assert "OTEL_BRIDGE_HTTP: others can reach 0.0.0.0:0" in refused.stderr

    allowed = {**environ, **public, "OTEL_BRIDGE_INSECURE_ALLOW_PUBLIC": "true"}
    with serving(allowed) as (process, said):
        with urllib.request.urlopen(said["endpoints"]["viewer"]["viewer"] + "/api/v1/status") as answer:
            insecure = json.loads(answer.read())["insecure"]
        process.terminate()
        _, err = process.communicate(timeout=30)
    assert ["INSECURE: others can reach 0.0.0.0:0" in one for one in insecure] == [True]
    assert "warning: OTEL_BRIDGE_HTTP: INSECURE: others can reach 0.0.0.0:0" in err
