"""Every way to be wrong at the command line is said: what, where, and what to do."""

import os
import sys
from pathlib import Path

import pytest

from otel_bridge.cli.app import run


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ("translate --format xml x", 2, "Invalid value for '--format': 'xml' is not among 'text', 'json'\n"),
        ("translate --to nothing x", 2, "is not among 'observations', 'langfuse-otlp', 'ingestion'\n"),
        ("traces --limit x", 2, "Invalid value for '--limit': it must be a whole number\n"),
        ("dead-letter list --limit 0", 2, "Invalid value for '--limit': it must be 1, or greater\n"),
        ("dead-letter list --limit x --json", 2, "\"Invalid value for '--limit': it must be a whole number\""),
        ("translate folder", 73, "folder can not be read: it is a folder, and no file\n"),
        ("translate file/x", 73, "file/x can not be read: {here}/file is a file, and no folder\n"),
        ("translate none/x", 73, "none/x can not be read: there is no folder {here}/none\n"),
        ("translate none", 73, "none can not be read: No such file or directory\n"),
        ("validate folder", 78, "{here}/folder: cannot be read: it is a folder, and no file\n"),
        ("validate pipe", 78, "{here}/pipe: cannot be read: it is a pipe, and nobody writes into it\n"),
        ("validate file/x", 78, "{here}/file/x: cannot be read: {here}/file is a file, and no folder\n"),
        ("validate none/x", 78, "{here}/none/x: cannot be read: there is no folder {here}/none\n"),
        ("config init folder", 2, "folder is a folder: name a file in it, as folder/bridge.yaml\n"),
        ("config init none/x", 73, "none/x cannot be written: there is no folder {here}/none\n"),
        ("traces --data-dir file", 78, "--data-dir: file is a file, and no folder\n"),
        ("status --data-dir pipe", 78, "--data-dir: pipe is a pipe, and no folder\n"),
        ("audit --config in-a-file.yaml", 78, "in-a-file.yaml service::data_dir: file is a file, and no folder\n"),
        ("serve --config nowhere.yaml", 78, "nowhere.yaml:3 service::data_dir: must not be empty\n"),
    ],
)
def test_it_is_said(
    words: str,
    code: int,
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    os.mkfifo("pipe")
    receives = "receivers: {in_process: {}}\nexporters: {debug: {}}\n"
    pipelines = "pipelines: {main: {receivers: [in_process], exporters: [debug]}}"
    for name, data_dir in (("in-a-file", "file"), ("nowhere", "''")):
        Path(f"{name}.yaml").write_text(f"{receives}service: {{data_dir: {data_dir}, {pipelines}}}\n")
    monkeypatch.setattr(sys, "argv", ["otel-bridge", *words.split()])
    with pytest.raises(SystemExit) as ended:
        run()
    said = capsys.readouterr().err
    assert told.format(here=tmp_path) in said
    assert ended.value.code == code
