"""A program ends as it does without, though what was imported before its first line is frozen."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tests.sdk.programs import INSTRUMENT, finished
from tests.sdk.sink import Sink

ROOT = Path(__file__).parents[2]
SITE = """
import asyncio, json, logging, sqlite3, tempfile
from otel_bridge.sdk import freezing
del __file__  # so this is no file of the program's
freezing.thaw_in_time()
freezing.freeze()
"""
INSTRUMENTED = {
    "PYTHONPATH": os.pathsep.join((str(ROOT / "otel_bridge" / "sdk" / "site"), str(ROOT))),
    "OTEL_TRACES_EXPORTER": "none",
    "OTEL_LOGS_EXPORTER": "none",
}
INSTRUMENTORS = ",".join({found.name for found in entry_points(group="opentelemetry_instrumentor")} - {"openai"})
BEGIN = """
import asyncio, contextlib, functools, gc, io, json, logging, os, shelve, sqlite3, sys, tempfile, zipfile
class Noted:
    def __init__(self, name): self.name = name
    def __del__(self): say(self.name)
class Handler(logging.Handler):
    def __init__(self):
        super().__init__()
        self.out = open("handler", "w")
    def emit(self, record): self.out.write(record.getMessage())
class quiet(contextlib.ContextDecorator):
    def __enter__(self): pass
    def __exit__(self, *left): pass
class Quiet:
    @quiet()
    def __del__(self): say("quietly")
def say(what): os.write(1, f"{what} is finished\\n".encode())
def main(): out.write("script")
def generating():
    try: yield
    finally: say("a generator")
async def waiting(ever):
    try: await ever
    finally: say("a task")
out = open("script", "w")
main()
"""
ENDS = {
    "a file": "pass",
    "an object": "noted = Noted('of the script')",
    "an object in a cycle": "noted = Noted('of a cycle'); noted.itself = noted",
    "a file of a module": "json.out = open('module', 'w'); json.out.write('module')",
    "a file in a registry": "log = logging.getLogger('agent'); log.addHandler(Handler()); log.error('note')",
    "an archive": (
        "json.JSONEncoder.out = zipped = zipfile.ZipFile('archive', 'w')\nzipped.writestr(zipfile.ZipInfo('a'), 'a')"
    ),
    "an object on a class": "json.JSONEncoder.noted = Noted('on a class')",
    "one whose end is decorated": "json.JSONEncoder.noted = Quiet()",
    "one whose end is no function": (
        "told = staticmethod(functools.partial(os.write, 1, b'told'))\n"
        "json.JSONEncoder.told = type('Told', (), {'__del__': told})()"
    ),
    "a folder that is temporary": "json.JSONDecoder.kept = tempfile.TemporaryDirectory(dir='.')",
    "a file that is temporary": "json.JSONDecoder.kept = tempfile.NamedTemporaryFile(dir='.')",
    "a generator": "json.JSONDecoder.kept = kept = generating(); next(kept)",
    "a coroutine": "json.JSONDecoder.kept = waiting(None)",
    "a task": (
        "loop = asyncio.new_event_loop(); json.JSONDecoder.kept = loop.create_task(waiting(loop.create_future()))\n"
        "loop.run_until_complete(asyncio.sleep(0))"
    ),
    "an error that nobody has seen": (
        "lost = asyncio.new_event_loop().create_future(); lost.set_exception(ValueError('lost'))\n"
        "json.JSONDecoder.lost = lost; del lost"
    ),
    "a database": (
        "kept = sqlite3.connect('data'); kept.execute('PRAGMA journal_mode = wal')\nkept.execute('CREATE TABLE t(a)')\n"
        "json.JSONDecoder.kept = kept; del kept"
    ),
    "a database of the system's": (
        "import dbm; kept = dbm.open('data', 'n'); kept['a'] = '1'; json.JSONDecoder.kept = kept; del kept"
    ),
    "a shelf": (
        "import dbm.dumb; json.JSONDecoder.kept = shelf = shelve.Shelf(dbm.dumb.open('shelf')); shelf['a'] = 1; del shelf"
    ),
    "warnings that are asked for": (
        "import warnings; warnings.simplefilter('always'); out.close(); json.kept = open('script.py')"
    ),
    "a file of its own kind": (
        "class Raw(io.RawIOBase):\n    def close(self): self.closed or say('raw'); super().close()\n"
        "json.JSONDecoder.raw = Raw()"
    ),
    "a loop of its own kind": (
        "class Loop(asyncio.SelectorEventLoop):\n    def close(self): self.is_closed() or say('it'); super().close()\n"
        "json.JSONDecoder.loop = Loop()"
    ),
    "one who looks after the program": (
        "def hook(event, told):\n    if event == 'gc.get_objects': raise RuntimeError('no')\n"
        "sys.addaudithook(hook); json.JSONDecoder.kept = open('kept', 'w'); json.JSONDecoder.kept.write('it')"
    ),
    "another output": "sys.stdout = open('printed', 'w'); print('all')",
    "an error": "raise ValueError('of the script')",
    "a code": "sys.exit(3)",
    "a class that answers itself": "class Odd(type): __mro__ = None\njson.JSONDecoder.odd = Odd('Odd', (), {})()",
    "who is told of collections": (
        "out.close()\ndef came(phase, told): say(phase)\ngc.collect(); gc.callbacks.append(came)"
    ),
    "who is main": (
        "import pickle, __main__\n"
        "assert pickle.loads(pickle.dumps(Noted)) is Noted is __main__.Noted\n"
        "assert sys.modules['__main__'].__dict__ is globals() and __name__ == '__main__'\n"
        "print(sorted(globals()))"
    ),
    "who is instrumented late": (
        "if frozen := gc.get_freeze_count(): gc.unfreeze()\n"
        "from otel_bridge.sdk import freezing; freezing.freeze()\n"
        "import __main__; print(__main__.__dict__ is globals(), gc.get_freeze_count())"
    ),
}


def ended(folder: Path, how: list[str], program: str, environ: Mapping[str, str]) -> tuple[object, ...]:
    """Its exit code, what it has printed, and what files it has left."""
    folder.mkdir()
    (folder / "script.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "-B", *how],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environ},
        input=program,
        capture_output=True,
        text=True,
        timeout=30,
    )
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    return done.returncode, done.stdout, re.sub("0x[0-9a-f]+", "0x", done.stderr).replace(str(folder), ""), files


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """The environment of a program before which something was imported and frozen."""
    site = tmp_path_factory.mktemp("site")
    (site / "sitecustomize.py").write_text(SITE)
    return {"PYTHONPATH": os.pathsep.join((str(site), str(ROOT)))}


@pytest.mark.slow
@pytest.mark.parametrize("end", ENDS)
def test_what_the_program_left_is_finished_as_without(end: str, frozen: Mapping[str, str], tmp_path: Path) -> None:
    program = f"{BEGIN}{ENDS[end]}\n"
    found = ended(tmp_path / "with", ["script.py"], program, frozen)
    assert found == ended(tmp_path / "none", ["script.py"], program, {})


@pytest.mark.slow
@pytest.mark.parametrize("how", [["-m", "script"], ["-"], ["-c", "import script; script.main()"]], ids=" ".join)
def test_however_the_program_is_begun(how: list[str], frozen: Mapping[str, str], tmp_path: Path) -> None:
    program = f"{BEGIN}noted = Noted('it')\n"
    found = ended(tmp_path / "with", how, program, frozen)
    assert found == ended(tmp_path / "none", how, program, {})
    assert found[:3] == (0, "it is finished\n", "")


@pytest.mark.slow
def test_files_are_written_out_also_where_a_library_keeps_what_it_was_imported_by(tmp_path: Path) -> None:
    """As OpenAI's does, which an instrumentation imports: of that Python itself finishes nothing."""
    program = f"{BEGIN}{ENDS['a file in a registry']}\nprint(gc.get_freeze_count() > 10_000, 'openai' in sys.modules)\n"
    environ = INSTRUMENTED | {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": INSTRUMENTORS}
    _, printed, err, files = ended(tmp_path / "with", ["script.py"], program, environ)
    assert (printed, err) == ("True True\n", "")
    assert isinstance(files, dict)
    assert (files["script"], files["handler"]) == (b"script", b"note")


FROZEN = """
import functools, gc, json, os, sys
def tell(write, count): write(1, str(count() > 1000).encode())
class Last: __del__ = staticmethod(functools.partial(tell, os.write, gc.get_freeze_count))
Last.__module__ = "otel_bridge"  # so nobody minds that it is left
sys.last = Last()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "then", "is_frozen"),
    [
        (None, "", True),
        (None, "json.JSONEncoder.out = open('out', 'w')", False),
        ("out = open('settings.log', 'w'); out.write('opened')", "", False),
    ],
    ids=["", "a file", "a module of the program's"],
)
def test_what_was_imported_before_is_left_as_it_is_where_nothing_hangs_on_it(
    settings: str | None, then: str, is_frozen: bool, frozen: Mapping[str, str], tmp_path: Path
) -> None:
    """The time this saves is what freezing is for: `tests/bench/bench_exit.py`."""
    environ = dict(frozen)
    if settings:
        (tmp_path / "settings.py").write_text(settings)
        (tmp_path / "sitecustomize.py").write_text(f"import settings\n{SITE}")
        environ["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{ROOT}"
    found = ended(tmp_path / "with", ["script.py"], f"{FROZEN}{then}\n", environ)
    assert found[1] == str(is_frozen)


@pytest.mark.slow
def test_who_wants_to_be_warned_of_what_is_left_open_is(frozen: Mapping[str, str], tmp_path: Path) -> None:
    program = f"{BEGIN}out.close(); json.JSONDecoder.kept = open('script.py')\n"
    how = ["-W", "always", "script.py"]
    found = ended(tmp_path / "with", how, program, frozen)
    assert found == ended(tmp_path / "none", how, program, {})
    assert "unclosed file" in str(found[2])


@pytest.mark.slow
def test_what_was_imported_to_instrument_a_program_is_frozen(arrived: Sink) -> None:
    program = (
        "import gc; print(gc.get_freeze_count() > 10_000, end=''); out = open(1, 'w', closefd=False); out.write('!')"
    )
    done = finished(INSTRUMENT, sys.executable, "-c", program, url=arrived.url)
    assert (done.stdout, done.stderr) == ("True!", "")


@pytest.mark.slow
def test_who_uses_another_distro_has_nothing_frozen() -> None:
    program = """
import gc
begun = gc.get_freeze_count()  # Python 3.12 has frozen something itself
from otel_bridge.sdk.distro import instrumented
instrumented()
print(gc.get_freeze_count() - begun)
"""
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "0\n"
