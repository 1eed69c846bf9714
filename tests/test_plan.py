"""A configuration says what runs; what is wrong with it is said all at once, with line and path."""

import copy
import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from otel_bridge import plan
from otel_bridge.cli.found import place
from otel_bridge.embedded.engine import _data_dir
from otel_bridge.errors import PlanError
from otel_bridge.listening import is_local

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


def test_units_ids_and_environment_are_read() -> None:
    read = plan.parse(GOOD, "bridge.yaml", environ={"OUT": "third.jsonl"})

    assert read.service.journal.max_bytes == 64 << 20
    assert read.service.journal.max_age == 7200
    assert list(read.exporters) == ["file", "file/second"]
    assert read.to_dict()["exporters"]["file/second"]["path"] == "third.jsonl"
    assert read.sources["exporters::file/second::path"] == "bridge.yaml:5 env OUT"


def test_every_mistake_is_said_with_its_line_and_the_likely_word() -> None:
    found = mistakes(
        GOOD.replace("max_bytes", "max_byte").replace("[file, file/second]", "[file, fil/second, file]")
        + "servce: {}\n"
    )

    assert found == [
        "bridge.yaml:8 service::journal::max_byte: no such key, did you mean max_bytes?",
        "bridge.yaml:10 service::pipelines::main::exporters: 'fil/second' is not configured, did you mean file/second?",
        "bridge.yaml:10 service::pipelines::main::exporters: 'file' is there twice",
        "bridge.yaml:11 servce: no such section, did you mean service?",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("file: {path", "fle: {path"), "bridge.yaml:4 exporters::fle: no such exporter, did you mean file?"),
        (
            ("file: {path", "file/a.settled: {path"),
            "bridge.yaml:4 exporters::file/a.settled: an id that ends in '.settled' is the bridge's own",
        ),
        (("64MiB", "64 potatoes"), "bridge.yaml:8 service::journal::max_bytes: write it as 64KiB, 20MiB or 8GiB"),
        (("2h", "soon"), "bridge.yaml:8 service::journal::max_age: write it as 500ms, 6s, 2m, 12h or 7d"),
        (
            ("${env:OUT:-second.jsonl}", "${env:OUT}"),
            "bridge.yaml:5 exporters::file/second::path: the environment has no OUT",
        ),
        (("${env:OUT:-second.jsonl}", "${OUT}"), "bridge.yaml:5 exporters::file/second::path: ${OUT} cannot be read"),
        (("receivers: [otlp], ", ""), "bridge.yaml:10 service::pipelines::main::receivers: is required"),
        (("path: out.jsonl", ""), "bridge.yaml:4 exporters::file::path: is required"),
        (
            ("  data_dir: /tmp/somewhere", "  data_dir: a\n  data_dir: b"),
            "bridge.yaml:8 'data_dir' is there twice",
        ),
        (
            ("  file: {path", "  file: {path: a, format: x}\n  file: {path"),
            "bridge.yaml:5 'file' is there twice",
        ),
        (("2h", "30"), "bridge.yaml:8 service::journal::max_age: 30 has no unit, write it as 500ms, 6s, 2m, 12h or 7d"),
        (
            ("64MiB", "67108864"),
            "bridge.yaml:8 service::journal::max_bytes: 67108864 has no unit, write it as 64KiB, 20MiB or 8GiB",
        ),
        (("64MiB", "1KiB"), "bridge.yaml:8 service::journal::max_bytes: must be at least 1MiB"),
        (("2h", "0s"), "bridge.yaml:8 service::journal::max_age: must be above 0"),
        (
            ("  journal:", "  assemble: {grace: 20m}\n  journal:"),
            "bridge.yaml:8 service::assemble::grace: is above max_hold",
        ),
        (
            ("  journal:", "  assemble: {idle: 20m}\n  journal:"),
            "bridge.yaml:8 service::assemble::idle: is above max_hold",
        ),
        (
            ("max_age: 2h", "max_age: 5m"),
            "bridge.yaml:8 service::journal::max_age: is below assemble::max_hold",
        ),
        (
            ("exporters:\n", "processors:\n  filtr: {}\nexporters:\n"),
            "bridge.yaml:4 processors::filtr: no such processor, ",
        ),
        (
            ("{receivers: [otlp]", "{receivers: [otlp], processors: [filter]"),
            "bridge.yaml:10 service::pipelines::main::processors: 'filter' is not configured",
        ),
        (
            ("receivers: [otlp]", "receivers: otlp"),
            "bridge.yaml:10 service::pipelines::main::receivers: must be a list, ",
        ),
        (("[otlp]", "[]"), "bridge.yaml:10 service::pipelines::main::receivers: must not be empty"),
        (('"127.0.0.1:0"', "24318"), "bridge.yaml:2 receivers::otlp::http: must be text, as 127.0.0.1:4318"),
        (("out.jsonl}", "out.jsonl, fsync: maybe}"), "bridge.yaml:4 exporters::file::fsync: must be true or false"),
        (("{path: out.jsonl}", "out.jsonl"), "bridge.yaml:4 exporters::file: must be a mapping of keys to values"),
        (
            ("grpc: null}", "grpc: null, bodys: 1}"),
            "bridge.yaml:2 receivers::otlp::bodys: no such key, did you mean ",
        ),
        (("receivers:\n", "receivers:\n\t"), "bridge.yaml:2 not valid YAML: found character"),
    ],
)
def test_a_mistake_names_place_and_remedy(change: tuple[str, str], message: str) -> None:
    found = mistakes(GOOD.replace(*change))

    assert [one for one in found if one.startswith(message)], found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("- a\n", "must be a mapping"),
        ("a: 2024-99-99\n", "a value is not what it looks like: month must be in 1..12"),
        ("a: " + "[" * 1000, "is nested too deeply"),
    ],
)
def test_what_is_no_mapping_is_refused(text: str, message: str) -> None:
    assert message in mistakes(text)[0]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"nowhere\.yaml: cannot be read: No such file"):
        plan.load(tmp_path / "nowhere.yaml", environ={})


def test_dollars_can_be_written() -> None:
    read = plan.parse(GOOD.replace("out.jsonl", "a$$b$c"), "bridge.yaml", environ={})

    assert read.to_dict()["exporters"]["file"]["path"] == "a$b$c"


def test_langfuse_joins_the_default_when_its_keys_are_there() -> None:
    keys = {"LANGFUSE_PUBLIC_KEY": "pk-lf-1", "LANGFUSE_SECRET_KEY": "sk-lf-canary"}

    alone, both = plan.load(None, environ={}), plan.load(None, environ=keys)

    assert alone.service.pipelines["main"].exporters == ["store"]
    assert both.service.pipelines["main"].exporters == ["store", "langfuse"]
    assert "sk-lf-canary" not in json.dumps(both.to_dict()) + repr(both)
    assert "sk-lf-canary" in json.dumps(both.to_dict(show_secrets=True))


def test_the_schema_knows_every_component_and_refuses_other_keys() -> None:
    made = plan.schema()

    assert {"^file(/.+)?$", "^store(/.+)?$"} <= set(made["properties"]["exporters"]["patternProperties"])
    assert made["properties"]["service"]["additionalProperties"] is False


def test_a_missing_variable_is_said_once() -> None:
    """Not also as the empty text that it leaves behind."""
    langfuse = "  langfuse: {public_key: '${env:PK}', secret_key: '${env:SK:-}'}\n"
    found = mistakes(GOOD.replace("exporters:\n", f"exporters:\n{langfuse}", 1))

    assert found == [
        "bridge.yaml:4 exporters::langfuse::public_key: the environment has no PK, set it or write ${env:PK:-default}",
        "bridge.yaml:4 exporters::langfuse::secret_key: must not be empty",
    ]


def test_a_value_of_the_environment_is_named_by_its_variable() -> None:
    """The built-in configuration is a file that nobody wrote, so its lines are nobody's."""
    with pytest.raises(PlanError) as built_in:
        plan.load(None, environ={"OTEL_BRIDGE_HTTP": "24318"})
    written = mistakes(GOOD.replace('"127.0.0.1:0"', '"${env:DOOR}"'), DOOR="24318")

    assert built_in.value.mistakes[0].startswith("OTEL_BRIDGE_HTTP: write it as host:port")
    assert written[0].startswith("bridge.yaml:2 receivers::otlp::http: write it as host:port")
    assert written[0].endswith("(the value is that of DOOR)")


@pytest.mark.parametrize(
    ("first", "second", "clash"),
    [
        ("127.0.0.1:4319", "127.0.0.1:4319", True),
        ("0.0.0.0:4319", "localhost:4319", True),
        ("127.0.0.1:4319", "127.0.0.2:4319", False),
        ("127.0.0.1:0", "127.0.0.1:0", False),
    ],
)
def test_two_doors_need_two_addresses(first: str, second: str, clash: bool) -> None:
    text = GOOD.replace("127.0.0.1:0", first) + f'extensions:\n  viewer: {{endpoint: "{second}"}}\n'

    if not clash:
        plan.parse(text, "bridge.yaml", environ={})
        return
    found = mistakes(text)[-1]
    assert found.startswith(
        f"bridge.yaml:12 extensions::viewer::endpoint: {second} is the address of receivers::otlp::"
    )


def test_what_no_pipeline_uses_is_a_warning() -> None:
    read = plan.parse(GOOD.replace("[file, file/second]", "[file]"), "bridge.yaml", environ={})

    [warning] = read.warnings
    assert warning.startswith("bridge.yaml:5 exporters::file/second: no pipeline uses it")
    assert plan.parse(GOOD, "bridge.yaml", environ={}).warnings == ()


def test_what_makes_it_less_safe_is_said() -> None:
    read = plan.parse(GOOD.replace("max_age: 2h", "durability: os"), "bridge.yaml", environ={})

    [warning] = read.warnings
    assert warning.startswith("bridge.yaml:8 service::journal::durability: NOT DURABLE: ")


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


TLS = "tls: {cert_file: c.pem, key_file: k.pem}"
ACME_TENANT = "  tenants: {acme: {keys: [acme-key-0123456789]}}\n"


def public(receiver: str = "", service: str = "", viewer: str = "") -> str:
    """The receiver and the viewer on all addresses, with more of their configuration."""
    return (
        GOOD.replace("127.0.0.1:0", "0.0.0.0:4318").replace("grpc: null", f"grpc: null{receiver}")
        + service
        + f'extensions:\n  viewer: {{endpoint: "0.0.0.0:4319"{viewer}}}\n'
    )


@pytest.mark.parametrize(
    ("receiver", "service", "lacks"),
    [
        ("", "", "no tls and no service::tenants (or tls::client_ca_file)"),
        (f", {TLS}", "", "no service::tenants (or tls::client_ca_file)"),
        ("", ACME_TENANT, "no tls"),
        (f", {TLS}", ACME_TENANT, None),
        (", tls: {cert_file: c.pem, key_file: k.pem, client_ca_file: ca.pem}", "", None),
        (", insecure: true", "", None),
    ],
)
def test_nobody_listens_for_the_world_by_mistake(receiver: str, service: str, lacks: str | None) -> None:
    viewer = f", {TLS}, password: long-enough"
    text = public(receiver, service, viewer)

    if lacks is None:
        read = plan.parse(text, "bridge.yaml", environ={})
        assert [one for one in read.exposed if "viewer" in one] == []
        return
    [found] = mistakes(text)
    assert found.startswith(
        f"bridge.yaml:2 receivers::otlp::http: others can reach 0.0.0.0:4318, and there is {lacks}: add it"
    )


def test_a_viewer_for_others_has_tls_and_a_password_of_its_own() -> None:
    """Keys of tenants are no password of it."""
    [found] = mistakes(public(f", {TLS}", ACME_TENANT, f", {TLS}"))

    assert found.startswith("bridge.yaml:13 extensions::viewer::endpoint: others can reach 0.0.0.0:4319")
    assert "there is no password" in found


def test_what_is_open_to_all_because_it_was_said_is_told_loudly() -> None:
    """By the file for one component; by the command line or the environment for all."""
    for read in (
        plan.parse(public(", insecure: true", "", ", insecure: true"), "bridge.yaml", environ={}),
        plan.parse(public(), "bridge.yaml", environ={}, allow_public=True),
    ):
        assert [one.partition(": INSECURE: others can reach ")[0] for one in read.exposed] == [
            "bridge.yaml:2 receivers::otlp::http",
            "bridge.yaml:12 extensions::viewer::endpoint",
        ]
        assert set(read.exposed) <= set(read.warnings)
        assert read.extensions["viewer"].config.model_dump()["insecure"] is True


@pytest.mark.parametrize(("said", "runs"), [("true", True), ("1", True), ("false", False), ("", False)])
def test_a_container_says_by_its_environment_that_it_may_listen(said: str, runs: bool) -> None:
    environ = {"OTEL_BRIDGE_HTTP": "0.0.0.0:4318", "OTEL_BRIDGE_INSECURE_ALLOW_PUBLIC": said}

    if runs:
        assert len(plan.load(None, environ=environ).exposed) == 1
        return
    with pytest.raises(
        PlanError, match=r"OTEL_BRIDGE_HTTP: others can reach 0\.0\.0\.0:4318, .* --insecure-allow-public"
    ):
        plan.load(None, environ=environ)


@pytest.mark.parametrize(
    ("endpoint", "local"),
    [
        ("127.0.0.1:1", True),
        ("127.8.8.8:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("192.168.1.7:1", False),
        ("bridge.example:1", False),
        ("127.0.0.1.evil.example:1", False),
    ],
)
def test_which_addresses_only_this_machine_reaches(endpoint: str, local: bool) -> None:
    assert is_local(endpoint) is local


@pytest.mark.parametrize(
    ("tenants", "found"),
    [
        (
            "{a: {keys: [one-key-0123456789]}, b: {keys: [other-key-0123456789, one-key-0123456789]}}",
            "b::keys::1: a has the same: whose would it be?",
        ),
        (
            "{a: {certificates: [agent.example]}, b: {certificates: [agent.example]}}",
            "b::certificates::0: a has the same",
        ),
        ("{a: {keys: [one-key-0123456789], sends_for: [c]}}", "a::sends_for::0: 'c' is no tenant, there are: a"),
    ],
)
def test_what_tenants_say_of_each_other_holds(tenants: str, found: str) -> None:
    [mistake] = mistakes(GOOD + f"  tenants: {tenants}\n")

    assert mistake.startswith(f"bridge.yaml:11 service::tenants::{found}")
    assert "one-key" not in mistake


def test_a_key_file_that_everybody_can_read_is_told_of(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.write_text("out.jsonl")
    key.chmod(0o644)
    text = GOOD.replace("grpc: null", f"grpc: null, tls: {{cert_file: c.pem, key_file: {key}}}")

    [warning] = plan.parse(text, "bridge.yaml", environ={}).warnings
    assert warning.startswith(
        f"bridge.yaml:2 receivers::otlp::tls::key_file: every user of this machine can read {key}"
    )
    assert mistakes(text + "  strict_permissions: true\n") == [warning]
    elsewhere = GOOD.replace("${env:OUT:-second.jsonl}", f"${{file:{key}}}")
    [warning] = [one for one in plan.parse(elsewhere, "bridge.yaml", environ={}).warnings if "every user" in one]
    assert warning.startswith(f"bridge.yaml:5 exporters::file/second::path: every user of this machine can read {key}")
    key.chmod(0o640)
    assert plan.parse(text + "  strict_permissions: true\n", "bridge.yaml", environ={}).warnings == ()


def test_every_file_that_is_named_begins_where_the_configuration_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it is started; also for the commands that look for the bridge, and for one in a program."""
    folder, home = tmp_path / "etc", tmp_path / "home"
    folder.mkdir()
    (folder / "bridge.yaml").write_text(
        "receivers: {in_process: {}, file: {path: 'in/**/*.pb'}, file/home: {path: '~/in/*.pb'}}\n"
        "exporters: {store: {path: store.db}, file: {path: '~/out'}}\n"
        "extensions: {viewer: {store: ../store.db, tls: {cert_file: tls/crt, key_file: /tls/key, client_ca_file: a}}}\n"
        "service:\n"
        "  data_dir: data\n"
        "  pipelines: {main: {receivers: [in_process, file, file/home], exporters: [store, file]}}\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(home))
    for said in (Path("etc/bridge.yaml"), folder / "bridge.yaml"):
        read = plan.load(said, environ={})
        viewer = vars(read.extensions["viewer"].config)
        assert viewer["store"] == folder / "../store.db"
        assert vars(viewer["tls"]) == {
            "cert_file": folder / "tls/crt",
            "key_file": Path("/tls/key"),
            "client_ca_file": folder / "a",
            "min_version": "1.2",
        }
        assert vars(read.receivers["file"].config)["path"] == str(folder / "in/**/*.pb")
        assert vars(read.receivers["file/home"].config)["path"] == str(home / "in/*.pb")
        assert vars(read.exporters["store"].config)["path"] == folder / "store.db"
        assert vars(read.exporters["file"].config)["path"] == home / "out"
        assert read.data_dir == folder / "data"
        found = place(said)
        assert (found.data_dir.absolute(), found.store.absolute()) == (folder / "data", folder / "store.db")
        assert _data_dir(said) == folder / "data"


def test_the_home_of_nobody_is_a_mistake_for_whoever_looks_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bridge, the commands that look for it, and one in a program."""
    said = tmp_path / "bridge.yaml"
    said.write_text(GOOD.replace("/tmp/somewhere", "~no-such-user/x"))
    why = "service::data_dir: begins with ~ and the name of nobody here: write the whole path"
    for look in (lambda: plan.load(said, environ={}), lambda: place(said), lambda: _data_dir(said)):
        with pytest.raises(PlanError, match=why):
            look()
    with pytest.raises(PlanError, match="--data-dir: begins with ~ and the name of nobody here"):
        place(said, Path("~no-such-user/x"))
    monkeypatch.setenv("OTEL_BRIDGE_DATA_DIR", "~no-such-user/x")
    with pytest.raises(PlanError, match="OTEL_BRIDGE_DATA_DIR: begins with ~ and the name of nobody here"):
        place(None)


def test_a_value_can_stand_in_a_file(tmp_path: Path) -> None:
    """Its name begins where the configuration is; all that was read is known, so that changes are seen."""
    (tmp_path / "out").write_text("$third.jsonl\n")
    config = tmp_path / "bridge.yaml"
    config.write_text(
        GOOD.replace("${env:OUT:-second.jsonl}", "${file:out}").replace("out.jsonl", '"${file:none:-a}.jsonl"')
    )

    read = plan.load(config, environ={})

    assert read.to_dict()["exporters"]["file/second"]["path"] == str(tmp_path / "$third.jsonl")
    assert read.to_dict()["exporters"]["file"]["path"] == str(tmp_path / "a.jsonl")
    assert read.sources["exporters::file/second::path"] == "bridge.yaml:5 file out"
    assert set(read.files) == {config, tmp_path / "out", tmp_path / "none"}


def test_a_file_that_is_missing_is_named_and_looked_for(tmp_path: Path) -> None:
    config = tmp_path / "bridge.yaml"
    config.write_text(GOOD.replace("${env:OUT:-second.jsonl}", "${file:out}"))

    with pytest.raises(PlanError) as caught:
        plan.load(config, environ={})

    [mistake] = caught.value.mistakes
    assert mistake.startswith("bridge.yaml:5 exporters::file/second::path: there is no file out, ")
    assert set(caught.value.files) == {config, tmp_path / "out"}


TENANTS = """\
receivers:
  otlp: {http: "127.0.0.1:0", grpc: null}
exporters:
  langfuse:
    base_url: http://127.0.0.1:9
    timeout: 5s
service:
  tenants:
    acme:
      keys: [acme-key-0123456789]
      exporters: {langfuse: {public_key: pk-lf-acme, secret_key: sk-canary-acme}}
    globex:
      exporters:
        langfuse: {public_key: pk-lf-globex, secret_key: sk-canary-globex, base_url: "http://127.0.0.1:8"}
    idle: {}
  pipelines:
    main: {receivers: [otlp], exporters: [langfuse]}
"""


def test_an_exporter_has_a_configuration_for_each_tenant_with_keys_of_its_own() -> None:
    read = plan.parse(TENANTS, "bridge.yaml", environ={})

    of = {name: config.model_dump() for name, config in read.exporters["langfuse"].tenants.items()}
    assert {name: (found["public_key"], found["base_url"], found["timeout"]) for name, found in of.items()} == {
        "acme": ("pk-lf-acme", "http://127.0.0.1:9", "5s"),
        "globex": ("pk-lf-globex", "http://127.0.0.1:8", "5s"),
    }


def test_keys_of_tenants_are_shown_to_nobody() -> None:
    """`config print` shows what was written, without secrets; that the exporter has none of its own, too."""
    read = plan.parse(TENANTS, "bridge.yaml", environ={})

    shown = read.to_dict()
    assert "canary" not in json.dumps(shown) + repr(read)
    assert "sk-canary-acme" in json.dumps(read.to_dict(show_secrets=True))
    assert shown["exporters"]["langfuse"]["secret_key"] is None
    assert shown["service"]["tenants"]["acme"]["exporters"] == {
        "langfuse": {"public_key": "pk-lf-acme", "secret_key": "**********"}
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("secret_key: sk-canary-acme", ""),
            "bridge.yaml:11 service::tenants::acme::exporters::langfuse::secret_key: is required",
        ),
        (
            ("langfuse: {public_key: pk-lf-acme", "langfus: {public_key: pk-lf-acme"),
            "bridge.yaml:11 service::tenants::acme::exporters::langfus: is not configured, did you mean langfuse?",
        ),
        (
            ("secret_key: sk-canary-globex", "secret: sk-canary-globex, secret_key: s"),
            "bridge.yaml:14 service::tenants::globex::exporters::langfuse::secret: no such key, did you mean ",
        ),
        (("timeout: 5s", "timeout: 5"), "bridge.yaml:6 exporters::langfuse::timeout: 5 has no unit"),
        (
            ("{langfuse: {public_key: pk-lf-acme, secret_key: sk-canary-acme}}", "{langfuse: pk}"),
            "bridge.yaml:11 service::tenants::acme::exporters::langfuse: must be a mapping",
        ),
    ],
)
def test_a_mistake_in_a_tenants_keys_is_said_once_where_it_stands(change: tuple[str, str], message: str) -> None:
    [found] = mistakes(TENANTS.replace(*change))

    assert found.startswith(message)
    assert "canary" not in found


def test_tenants_whose_data_an_exporter_with_keys_does_not_get_are_told_of() -> None:
    """`{}` says that the exporter's own keys are meant."""
    text = (
        "receivers: {otlp: {}}\n"
        "exporters:\n"
        "  langfuse: {public_key: pk-lf-1, secret_key: sk-lf-1}\n"
        "  store: {}\n"
        "service:\n"
        "  tenants: {acme: {keys: [0123456789abcdef], exporters: OWN}}\n"
        "  pipelines: {main: {receivers: [otlp], exporters: [langfuse, store]}}\n"
    )

    (warning,) = plan.parse(text.replace("OWN", "{}"), "test.yaml", environ={}).warnings

    assert warning.startswith("test.yaml:3 exporters::langfuse: its keys are not for tenants")
    assert "acme" in warning
    assert not plan.parse(text.replace("OWN", "{langfuse: {}}"), "test.yaml", environ={}).warnings


def test_tenants_that_are_not_finished_are_told_of() -> None:
    """Each in a line: who can not send, and whose data no keys are there for."""
    warnings = plan.parse(TENANTS, "bridge.yaml", environ={}).warnings

    assert [warning.partition(":")[2].partition(": give")[0] for warning in warnings] == [
        "4 exporters::langfuse: its keys are those of acme, globex, and what is from idle is not sent",
        "12 service::tenants::globex: nobody can send as it",
        "15 service::tenants::idle: nobody can send as it",
    ]


@pytest.mark.parametrize(
    ("tenant", "receiver", "finished"),
    [
        ("keys: [0123456789abcdef]", "", True),
        ("certificates: [agent.acme.example]", "", False),
        ("certificates: [agent.acme.example]", "tls: {cert_file: c, key_file: k, client_ca_file: a}", True),
        ("public_traces: true", "tenant_from: {header: x-tenant}", True),
        ("public_traces: true", "", False),
    ],
)
def test_a_tenant_is_finished_when_somebody_can_send_as_it(tenant: str, receiver: str, finished: bool) -> None:
    text = (
        f"receivers: {{otlp: {{{receiver}}}}}\n"
        "exporters: {store: {}}\n"
        "service:\n"
        "  tenants:\n"
        "    gateway: {keys: [fedcba9876543210], sends_for: [acme]}\n"
        f"    acme: {{{tenant}}}\n"
        "  pipelines: {main: {receivers: [otlp], exporters: [store]}}\n"
    )

    warnings = plan.parse(text, "bridge.yaml", environ={}).warnings

    assert [warning.partition(": ")[0] for warning in warnings] == (
        [] if finished else ["bridge.yaml:6 service::tenants::acme"]
    )


@pytest.mark.parametrize("processor", ["redact: {tenants: {acmee: {}}}", "sample: {tenants: {acmee: {rate: 0.5}}}"])
def test_what_a_processor_says_of_no_tenant_is_told_of(processor: str) -> None:
    text = (
        "receivers: {otlp: {}}\n"
        "processors:\n"
        f"  {processor}\n"
        "exporters: {store: {}}\n"
        "service:\n"
        "  tenants: {acme: {keys: [0123456789abcdef]}}\n"
        "  pipelines:\n"
        f"    main: {{receivers: [otlp], processors: [{processor.partition(':')[0]}], exporters: [store]}}\n"
    )
    alone = text.replace("  tenants: {acme: {keys: [0123456789abcdef]}}\n", "")

    (mistake,) = mistakes(text)
    assert mistake.startswith("bridge.yaml:3 processors::")
    assert mistake.endswith("::tenants::acmee: is no tenant, did you mean acme?")
    (warning,) = plan.parse(alone, "bridge.yaml", environ={}).warnings
    assert "::tenants::acmee: there are no service::tenants" in warning
    for right in (text.replace("acmee", "acme"), alone.replace("acmee", "default")):
        assert plan.parse(right, "bridge.yaml", environ={}).warnings == ()
