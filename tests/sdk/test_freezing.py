"""A program ends as it does without, though what was imported before its first line is frozen."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SITE = """
import asyncio, gc, json, logging, tempfile
from otel_bridge.sdk import freezing
freezing.thaw_in_time()
freezing.freeze()
"""
PROGRAM = """
import gc, gzip, json, logging, os, sys, tempfile

class Noted:
    def __init__(self, name): self.name = name
    def __del__(self): say(self.name)

class Handler(logging.Handler):
    def __init__(self):
        super().__init__()
        self.out = open("handler", "w")
    def emit(self, record): self.out.write(record.getMessage())

def say(what): os.write(1, f"{what} is finished\\n".encode())

def main():
    out.write("script")
"""
ENDS = {
    "a file": "pass",
    "an object": "noted = Noted('of the script')",
    "an object in a cycle": "noted = Noted('of a cycle'); noted.itself = noted",
    "a file of a module": "json.out = open('module', 'w'); json.out.write('module')",
    "a file in a registry": "log = logging.getLogger('agent'); log.addHandler(Handler()); log.error('note')",
    "an archive on a class": "json.JSONEncoder.out = out2 = gzip.GzipFile('archive', 'wb', mtime=0); out2.write(b'a')",
    "an object on a class": "json.JSONEncoder.noted = Noted('on a class')",
    "a folder that is temporary": "json.JSONDecoder.kept = tempfile.TemporaryDirectory(dir='.')",
    "a file that is temporary": "json.JSONDecoder.kept = tempfile.NamedTemporaryFile(dir='.')",
    "another output": "sys.stdout = open('printed', 'w'); print('all')",
    "an error": "raise ValueError('of the script')",
    "a code": "sys.exit(3)",
    "a class that answers itself": "class Odd(type): __mro__ = None\njson.JSONDecoder.odd = Odd('Odd', (), {})()",
    "who is main": (
        "import pickle, __main__\n"
        "assert pickle.loads(pickle.dumps(Noted)) is Noted is __main__.Noted\n"
        "assert sys.modules['__main__'].__dict__ is globals() and __name__ == '__main__'\n"
        "print(sorted(globals()))"
    ),
}


def ended(folder: Path, how: list[str], program: str, site: Path | None) -> tuple[object, ...]:
    folder.mkdir()
    (folder / "script.py").write_text(program)
    path = os.pathsep.join(map(str, filter(None, (site, Path.cwd()))))
    done = subprocess.run(
        [sys.executable, "-B", *how],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": path},
        input=program,
        capture_output=True,
        text=True,
        timeout=30,
    )
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    return done.returncode, done.stdout, done.stderr.replace(folder.name, ""), files


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    (folder / "sitecustomize.py").write_text(SITE)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("end", ENDS)
def test_what_the_program_left_is_finished_as_without(end: str, site: Path, tmp_path: Path) -> None:
    program = f"{PROGRAM}\nout = open('script', 'w')\nmain()\n{ENDS[end]}\n"
    assert ended(tmp_path / "with", ["script.py"], program, site) == ended(
        tmp_path / "none", ["script.py"], program, None
    )


@pytest.mark.slow
@pytest.mark.parametrize("how", [["-m", "script"], ["-"], ["-c", "import script; script.main()"]], ids=" ".join)
def test_however_the_program_is_begun(how: list[str], site: Path, tmp_path: Path) -> None:
    program = f"{PROGRAM}\nout = open('script', 'w')\nnoted = Noted('it')\nmain()\n"
    found = ended(tmp_path / "with", how, program, site)
    assert found == ended(tmp_path / "none", how, program, None)
    assert found[:3] == (0, "it is finished\n", "")


@pytest.mark.slow
@pytest.mark.parametrize(("left", "is_frozen"), [("", True), ("json.JSONEncoder.out = open('out', 'w')", False)])
def test_what_was_imported_before_is_left_as_it_is_where_nothing_hangs_on_it(
    left: str, is_frozen: bool, site: Path, tmp_path: Path
) -> None:
    """The time this saves is what freezing is for: `tests/bench/bench_exit.py`."""
    program = f"""
import functools, gc, json, os, sys
{left}
def tell(write, count): write(1, str(count() > 1000).encode())
sys.last = type("Last", (), {{"__del__": functools.partial(tell, os.write, gc.get_freeze_count)}})()
"""
    assert ended(tmp_path / "with", ["script.py"], program, site)[1] == str(is_frozen)
