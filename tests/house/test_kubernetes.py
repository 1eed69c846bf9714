"""The manifests for Kubernetes agree with each other, with the image, with the code, and with what is said of them."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from ruamel.yaml import YAML
from starlette.testclient import TestClient

from otel_bridge import __version__, plan
from otel_bridge.cli.demo import PROGRAM
from otel_bridge.viewer.app import application
from otel_bridge.viewer.login import Login

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "config" / "kubernetes"
CONFIGURED = FOLDER / "configured"
FILES = sorted(FOLDER.glob("*/*.yaml"))
PAGE = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
CODE = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "otel_bridge").rglob("*.py"))
NAME = "otel-bridge"
GIB = 1 << 30


def read(file: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe").load(file)
    return loaded


def bridge() -> dict[str, Any]:
    return read(FOLDER / "base" / "statefulset.yaml")


def pod() -> dict[str, Any]:
    found: dict[str, Any] = bridge()["spec"]["template"]["spec"]
    return found


def container() -> dict[str, Any]:
    (found,) = pod()["containers"]
    return dict(found)


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """(file, pod template) of all that run something."""
    for file in FILES:
        template = read(file).get("spec", {}).get("template")
        if template is not None and file.parent != CONFIGURED:
            yield file.name, template


def variables(written: Any) -> Iterator[tuple[str, str]]:
    """(name, value) of every environment variable that is set, wherever."""
    if isinstance(written, dict):
        for one in written.get("env", ()):
            yield one["name"], one.get("value", "")
        written = list(written.values())
    if isinstance(written, list):
        for inner in written:
            yield from variables(inner)


def of_dockerfile(pattern: str) -> str:
    found = re.search(pattern, DOCKERFILE, re.MULTILINE)
    assert found
    return found[1]


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_a_manifest_is_one_thing_with_a_name(file: Path) -> None:
    written = read(file)
    if file.name == "bridge.yaml":
        return
    assert written["apiVersion"]
    assert written["kind"] == "Kustomization" or re.fullmatch(r"[a-z]([a-z-]*[a-z])?", written["metadata"]["name"])


@pytest.mark.parametrize("folder", ["base", "configured"])
def test_a_kustomization_names_every_file_beside_it(folder: str) -> None:
    written = read(FOLDER / folder / "kustomization.yaml")
    named = [*written["resources"], *(patch["path"] for patch in written.get("patches", ()))]
    named += [file for made in written.get("configMapGenerator", ()) for file in made["files"]]

    there = {file.name for file in (FOLDER / folder).iterdir()} - {"kustomization.yaml"}
    assert {name for name in named if not name.startswith("..")} == there
    assert all((FOLDER / folder / name).exists() for name in named)


def test_ports_are_those_of_the_image_and_of_the_bridge() -> None:
    default = plan.load(None, environ={})
    otlp, viewer = default.receivers["otlp"].config, default.extensions["viewer"].config
    wanted = {"otlp-grpc": otlp.addresses()["grpc"], "otlp-http": otlp.addresses()["http"]}  # type: ignore[attr-defined]
    wanted |= {"viewer": viewer.endpoint}  # type: ignore[attr-defined]
    ports = {name: int(address.rpartition(":")[2]) for name, address in wanted.items()}

    assert {port["name"]: port["containerPort"] for port in container()["ports"]} == ports
    assert {int(port) for port in of_dockerfile(r"^EXPOSE (.*)$").split()} == set(ports.values())
    served = read(FOLDER / "base" / "service.yaml")["spec"]["ports"]
    assert {port["targetPort"]: port["port"] for port in served} == ports


def test_no_pod_reaches_the_viewer_and_only_the_namespace_reaches_the_rest() -> None:
    spec = read(FOLDER / "base" / "network-policy.yaml")["spec"]
    (rule,) = spec["ingress"]

    assert spec["policyTypes"] == ["Ingress"]
    assert rule["from"] == [{"podSelector": {}}]
    assert [port["port"] for port in rule["ports"]] == ["otlp-grpc", "otlp-http"]


def test_all_that_selects_pods_selects_the_bridge_alone() -> None:
    base = {name: read(FOLDER / "base" / f"{name}.yaml")["spec"] for name in ("disruption-budget", "network-policy")}
    selectors = [
        bridge()["spec"]["selector"]["matchLabels"],
        read(FOLDER / "base" / "service.yaml")["spec"]["selector"],
        base["disruption-budget"]["selector"]["matchLabels"],
        base["network-policy"]["podSelector"]["matchLabels"],
    ]
    labels = {file: template["metadata"]["labels"] for file, template in pods()}

    for selector in selectors:
        assert [file for file, given in labels.items() if selector.items() <= given.items()] == ["statefulset.yaml"]


def test_one_bridge_has_one_data_dir() -> None:
    spec = bridge()["spec"]

    assert spec["replicas"] == 1
    assert spec["serviceName"] == read(FOLDER / "base" / "service.yaml")["metadata"]["name"] == NAME


def test_it_runs_as_the_user_of_the_image_who_writes_to_the_data_dir() -> None:
    user, group = of_dockerfile(r"^USER (.*)$").split(":")
    context, mounted = pod()["securityContext"], {one["name"]: one["mountPath"] for one in container()["volumeMounts"]}

    assert context["runAsNonRoot"] is True
    assert (context["runAsUser"], context["runAsGroup"], context["fsGroup"]) == (int(user), int(group), int(group))
    assert container()["securityContext"]["readOnlyRootFilesystem"] is True
    (claim,) = bridge()["spec"]["volumeClaimTemplates"]
    assert mounted == {claim["metadata"]["name"]: "/data", "tmp": "/tmp"}
    assert of_dockerfile(r"^VOLUME (.*)$") == of_dockerfile(r"OTEL_BRIDGE_DATA_DIR=(\S+)") == "/data"


def test_the_claim_has_room_for_all_that_the_bridge_may_keep() -> None:
    default = plan.load(None, environ={})
    kept = default.service.journal.max_bytes + default.exporters["store"].config.max_bytes  # type: ignore[attr-defined]
    (claim,) = bridge()["spec"]["volumeClaimTemplates"]
    size = claim["spec"]["resources"]["requests"]["storage"]

    assert size.endswith("Gi")
    assert int(size.removesuffix("Gi")) * GIB >= kept + GIB


def test_it_has_as_long_to_stop_as_with_compose() -> None:
    compose = read(ROOT / "docker-compose.yaml")

    assert f"{pod()['terminationGracePeriodSeconds']}s" == compose["services"]["bridge"]["stop_grace_period"]


@pytest.mark.parametrize("name", ["startupProbe", "readinessProbe", "livenessProbe"])
@pytest.mark.parametrize("tenants", [False, True], ids=["open", "password"])
def test_a_probe_is_answered_as_the_kubelet_asks(name: str, *, tenants: bool, tmp_path: Path) -> None:
    """For the pod's address, with the manifest's headers over its own."""
    probe = container()[name]
    asked = probe["httpGet"]
    headers = {header["name"]: header["value"] for header in asked["httpHeaders"]}
    login = Login("a password", "a token", lambda: tenants, secure=False)

    with ThreadPoolExecutor(1) as thread:
        client = TestClient(application(tmp_path / "store.db", None, thread, login), base_url="http://10.42.0.7:4319")
        answer = client.get(asked["path"], headers=headers)

    assert answer.status_code == 200
    assert asked["port"] == "viewer"
    assert (asked["path"] == "/healthz") == (name == "livenessProbe")  # who is not ready is not killed for it


def test_images_are_of_this_version() -> None:
    images = {one["image"] for _, template in pods() for one in template["spec"]["containers"]} - {"agent"}

    assert images == {f"{NAME}:{__version__}"}
    assert set(re.findall(r"newTag: (\S+)\}", PAGE)) == {__version__}


def test_the_demo_is_that_of_the_command_line() -> None:
    (runs,) = read(FOLDER / "agent" / "demo.yaml")["spec"]["template"]["spec"]["containers"]

    assert runs["command"] == ["python", "-m", PROGRAM]


def test_agents_send_to_the_service() -> None:
    ports = {port["port"]: port["name"] for port in read(FOLDER / "base" / "service.yaml")["spec"]["ports"]}
    endpoints = [
        value
        for file in sorted((FOLDER / "agent").iterdir())
        for name, value in [*variables(read(file)), ("", read(file)["spec"].get("exporter", {}).get("endpoint", ""))]
        if name == "OTEL_EXPORTER_OTLP_ENDPOINT" or (not name and value)
    ]

    assert len(endpoints) == 3
    for endpoint in endpoints:
        where = urlsplit(endpoint)
        assert (where.scheme, where.hostname, ports[where.port or 0]) == ("http", NAME, "otlp-http")


def test_every_variable_is_one_that_the_code_reads() -> None:
    named = {name for file in FILES for name, _ in variables(read(file)) if name.startswith("OTEL_BRIDGE_")}

    assert named
    assert [name for name in named if f'"{name}"' not in CODE] == []


def test_what_kubernetes_tells_pods_of_the_service_is_none_of_our_variables() -> None:
    """Each pod of the namespace gets OTEL_BRIDGE_PORT, OTEL_BRIDGE_SERVICE_HOST and so on."""

    assert re.findall(rf"\b{NAME.upper().replace('-', '_')}_(?:PORT|SERVICE)\w*", CODE) == []


def test_the_configuration_is_good_with_the_files_of_its_secret(tmp_path: Path) -> None:
    text = (CONFIGURED / "bridge.yaml").read_text(encoding="utf-8")
    (tmp_path / "bridge.yaml").write_text(text, encoding="utf-8")
    keys = set(re.findall(r"\$\{file:([^}]+)\}", text))
    for key in keys:
        (tmp_path / key).touch(mode=0o640)
        (tmp_path / key).write_text(f"{key}-0123456789", encoding="utf-8")

    loaded = plan.load(tmp_path / "bridge.yaml", environ={"OTEL_BRIDGE_INSECURE_ALLOW_PUBLIC": "true"})

    assert [told for told in loaded.warnings if "INSECURE" not in told] == []
    assert str(loaded.service.data_dir) == "/data"
    assert set(re.findall(r"> keys/([a-z-]+)", PAGE)) == keys


def test_the_configuration_is_where_the_bridge_looks_for_it() -> None:
    patch = read(CONFIGURED / "statefulset.yaml")["spec"]["template"]["spec"]
    (changed,) = patch["containers"]
    (volume,) = patch["volumes"]
    (made,) = read(CONFIGURED / "kustomization.yaml")["configMapGenerator"]
    mounted = {one["name"]: one["mountPath"] for one in changed["volumeMounts"]}

    assert changed["name"] == container()["name"]
    assert dict(variables(patch)) == {"OTEL_BRIDGE_CONFIG": f"{mounted[volume['name']]}/{made['files'][0]}"}
    secret = {"secret": {"name": "otel-bridge-keys"}}
    assert volume["projected"]["sources"] == [{"configMap": {"name": made["name"]}}, secret]
    assert volume["projected"]["defaultMode"] == 0o440


def rendered(folder: Path) -> dict[str, Any]:
    """What kubectl makes of a kustomization, by kind."""
    command = ["kubectl", "kustomize", str(folder)]
    made = subprocess.run(command, capture_output=True, check=True, text=True, timeout=60).stdout
    return {one["kind"]: one for one in YAML(typ="safe").load_all(made)}


needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="there is no kubectl here")


@needs_kubectl
@pytest.mark.parametrize("folder", ["base", "configured"])
def test_kubectl_renders_it(folder: str) -> None:
    made = rendered(FOLDER / folder)

    kinds = {"StatefulSet", "Service", "PodDisruptionBudget", "NetworkPolicy"}
    assert set(made) == (kinds | {"ConfigMap"} if folder == "configured" else kinds)
    (runs,) = made["StatefulSet"]["spec"]["template"]["spec"]["containers"]
    mounted = {one["mountPath"] for one in runs["volumeMounts"]}
    assert mounted == {"/data", "/tmp"} | ({"/etc/otel-bridge"} if folder == "configured" else set())
    assert runs["livenessProbe"] == container()["livenessProbe"]


@needs_kubectl
@pytest.mark.parametrize("folder", ["base", "configured"])
def test_the_kustomization_on_the_page_names_the_image(folder: str, tmp_path: Path) -> None:
    (written,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (added,) = re.findall(r"add `(\S+)` to the resources", PAGE)
    written = written.replace("resources:\n", f"resources:\n  - {added}\n").replace("/base", f"/{folder}")
    (tmp_path / "kustomization.yaml").write_text(written, encoding="utf-8")
    shutil.copytree(FOLDER, tmp_path / "otel-bridge" / "config" / "kubernetes")

    made = rendered(tmp_path)

    assert {one["metadata"]["namespace"] for one in made.values()} == {"agents"}
    image = f"registry.example/otel-bridge:{__version__}"
    for kind in ("StatefulSet", "Job"):
        assert made[kind]["spec"]["template"]["spec"]["containers"][0]["image"] == image
    assert f"--tag {image}" in PAGE
