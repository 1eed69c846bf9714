"""The files that a configuration names: where they begin, and values that stand in them."""

from pathlib import Path

import pytest

from otel_bridge import plan
from otel_bridge.cli.found import place
from otel_bridge.embedded.engine import _data_dir
from otel_bridge.errors import PlanError
from tests.plan.configured import GOOD


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
    assert mistake.startswith(
        "bridge.yaml:5 exporters::file/second::path: there is no file out: write the value into it"
    )
    assert set(caught.value.files) == {config, tmp_path / "out"}
