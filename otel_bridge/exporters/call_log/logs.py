"""Writing calls into the folders of their runs: each call keeps its file, however often it comes."""

import errno
import fcntl
import os
import re
import shutil
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

from otel_bridge.component import Host
from otel_bridge.exporters.call_log import names
from otel_bridge.exporters.call_log.documents import Detail, document, encoded
from otel_bridge.exporters.call_log.runs import (
    CALLS,
    INDEX,
    LINES,
    SUMMARY,
    Call,
    Run,
    listed,
    newest_first,
    read,
    summary,
)
from otel_bridge.model import CALLS as CALL_TYPES
from otel_bridge.model import Level, Observation, ObservationType, Translation
from otel_bridge.plain_json import dump

K = TypeVar("K")
V = TypeVar("V")
Format: TypeAlias = Literal["yaml", "json", "jsonl"]

MOST_CALLS = 10_000  # of one run: its index is written anew each time
MOST_NAME = 200  # characters of a name; what is longer is no id of a run
MOST_BUCKETS, MOST_BUCKET = 50, 100  # of tokens or cost; characters of the name of one
LOCKED_S = 5.0
REMEMBERED = 20_000  # observations, to find the agent of calls whose trace comes in pieces; and traces
LOOK_AFTER_BYTES = 4 << 20  # that were written, what there is in all is counted again
NUMBER = re.compile(r"call_(\d{1,9})_")
AGENT_NAMES = ("gen_ai.agent.name", "agent_name")


class Logs:
    """A folder of call logs; belongs to one thread, and other processes may write to the folder too.

    max_runs, max_bytes, max_age_s: past one of them the oldest runs go; counted as `call_log_runs_removed`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        level: Detail,
        format: Format,  # noqa: A002 - what the configuration calls it
        run_key: str,
        max_runs: int,
        max_bytes: int,
        max_age_s: float,
        fsync: bool,
        host: Host,
    ) -> None:
        self._folder = folder
        self._level: Detail = level
        self._format: Format = format
        self._run_key = run_key
        self._max_runs, self._max_bytes, self._max_age_s = max_runs, max_bytes, max_age_s
        self._fsync = fsync
        self._host = host
        self._run_of: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._above: OrderedDict[tuple[str, str, str], tuple[str | None, str]] = OrderedDict()
        self._sizes: dict[Path, tuple[int, int]] = {}
        self._unlooked_bytes = 0
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._alone():
            self._make_room(keep=None)
            known = ((run.tenant, trace_id, run.run_id) for _, run in listed(folder) for trace_id in run.trace_ids)
            for tenant, trace_id, run_id in reversed(list(islice(known, REMEMBERED))):
                _remember(self._run_of, (tenant, trace_id), run_id)

    def settled(self, translation: Translation) -> None:
        """Write the calls in it; the same ones again change nothing.

        Raises:
            OSError: not all of it was written; may be called again with the same.
        """
        runs: dict[str, list[Observation]] = {}
        traces: dict[str, list[Observation]] = {}
        for seen in translation.observations:
            traces.setdefault(seen.trace_id, []).append(seen)
        for trace_id, observations in traces.items():
            told = [seen for seen in observations if seen.type in CALL_TYPES or seen.usage or seen.cost]
            for seen in observations:
                above = seen.parent_id, _agent(seen)
                _remember(self._above, (translation.tenant, trace_id, seen.id), above)
            said = self._said_run(translation.tenant, trace_id, observations)
            for seen in told:
                runs.setdefault(_run_id(seen.metadata.get(self._run_key)) or said, []).append(seen)
        if runs:
            with self._alone():
                for run_id, observations in runs.items():
                    self._write(translation.tenant, run_id, observations)

    def _said_run(self, tenant: str, trace_id: str, observations: Sequence[Observation]) -> str:
        """The run of a trace: as it or one of its spans says, now or in an earlier part; else it is one by itself."""
        places = [observations[0].trace.metadata, *(seen.metadata for seen in observations)]
        said = next((found for place in places if (found := _run_id(place.get(self._run_key)))), None)
        said = said or self._run_of.get((tenant, trace_id)) or trace_id
        _remember(self._run_of, (tenant, trace_id), said)
        return said

    def _write(self, tenant: str, run_id: str, observations: Sequence[Observation]) -> None:
        folder, run = self._opened(tenant, run_id)
        is_new = not run.calls
        run.name = run.name or (observations[0].trace.name or "")[:MOST_NAME] or None
        bodies = list(self._bodies(run, sorted(observations, key=lambda seen: (seen.start_ns, seen.id))))
        lines = [body for file, body in bodies if file == LINES]
        for path in (folder, folder / CALLS):
            path.mkdir(mode=0o700, exist_ok=True)
        if lines:
            run.lines_end = self._append(folder / LINES, run.lines_end, lines)
        self._put(folder / INDEX, dump(run).encode())  # before the files: a call that comes again finds its name there
        for file, body in bodies:
            if file != LINES:
                self._put(folder / file, body)
        suffix, other = ("yaml", "json") if self._format == "yaml" else ("json", "yaml")
        self._put(folder / f"{SUMMARY}.{suffix}", encoded(summary(run), suffix))
        (folder / f"{SUMMARY}.{other}").unlink(missing_ok=True)
        if self._fsync:
            for path in (folder / CALLS, folder, self._folder):
                _sync(path)
        self._unlooked_bytes += sum(len(body) for _, body in bodies)
        if is_new or self._unlooked_bytes > LOOK_AFTER_BYTES:
            self._make_room(keep=folder)

    def _bodies(self, run: Run, observations: Sequence[Observation]) -> Iterator[tuple[str, bytes]]:
        """What is to be written of them, by file; the run knows them then, as far as there is room."""
        known = {(call.trace_id, call.id): call for call in run.calls}
        size = run.size
        for seen in observations:
            key = seen.trace_id, seen.id
            call = known.get(key) or self._begun(run, seen)
            if call is None:
                continue
            has_line = call.file == LINES and key in known
            known[key] = call
            call.model, call.ok = (seen.model or "")[:MOST_NAME] or None, seen.level is not Level.ERROR
            call.tokens, call.cost = _few(seen.usage), _few(seen.cost)
            if call.number is None or call.file is None or has_line:
                continue
            told = document(seen, number=call.number, agent=call.agent, run_id=run.run_id, level=self._level)
            body = encoded(told, call.file.rpartition(".")[2])
            if size + len(body) - call.size > self._max_bytes:
                self._count("call_log_calls_left_out", "max_bytes")
                call.file = call.file if call.size else None
                continue
            size += len(body) - call.size
            call.size = len(body)
            yield call.file, body

    def _begun(self, run: Run, seen: Observation) -> Call | None:
        """A call that is new, with the next number; None where the run has too many."""
        if len(run.calls) >= MOST_CALLS:
            run.left_out += 1
            self._count("call_log_calls_left_out", "max_calls")
            return None
        call = Call(seen.id, seen.trace_id, seen.start_ns, seen.end_ns)
        if seen.type in CALL_TYPES:
            run.numbered += 1
            call.number = run.numbered
            call.agent = self._agent_of(run.tenant, seen)
            call.file = self._file(call)
        run.calls.append(call)
        return call

    def _opened(self, tenant: str, run_id: str) -> tuple[Path, Run]:
        """The folder of a run, and what is known of it; other tenants, and other runs, have other folders."""
        for name in names.folders(tenant, run_id):
            folder = self._folder / name
            try:
                run = read(folder)
            except ValueError as error:
                self._host.log.warning(
                    "what was known of a run can not be read, it begins anew", run=run_id, why=str(error)
                )
                (folder / INDEX).replace(folder / f"{INDEX}.unreadable")
                return folder, _after_all_there(folder, Run(run_id, tenant))
            if run is None:
                return folder, Run(run_id, tenant)
            if (run.tenant, run.run_id) == (tenant, run_id):
                return folder, run
        raise AssertionError("two runs with one hash")

    def _file(self, call: Call) -> str:
        if self._format == "jsonl":
            return LINES
        return f"{CALLS}/{names.call_file(call.number or 0, call.agent, self._format)}"

    def _agent_of(self, tenant: str, seen: Observation) -> str:
        """Who makes a call: as it says itself, else the nearest agent above it, else the call's own name."""
        if (own := _agent(seen)) and seen.type is not ObservationType.AGENT:
            return own
        passed, above = {seen.id}, seen.parent_id
        while above is not None and above not in passed:
            passed.add(above)
            above, agent = self._above.get((tenant, seen.trace_id, above), (None, ""))
            if agent:
                return agent
        return seen.name[:MOST_NAME]

    def _count(self, name: str, reason: str, amount: int = 1) -> None:
        self._host.counters.add(name, amount, exporter=self._host.id, reason=reason)

    # Files.

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """While no other process writes to the folder; where the file system knows no locks there has to be none.

        Raises:
            OSError: another does, for long.
        """
        descriptor = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            until_s = time.monotonic() + LOCKED_S
            while not _locked(descriptor):
                if time.monotonic() > until_s:
                    raise OSError(errno.EBUSY, "another process has it locked")
                time.sleep(0.01)
            yield
        finally:
            os.close(descriptor)

    def _put(self, path: Path, body: bytes) -> None:
        """All of a file or nothing, readable by its owner alone: prompts are private."""
        draft = path.with_name(f".{path.name}.new")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(body)
            if self._fsync:
                file.flush()
                os.fsync(file.fileno())
        draft.replace(path)

    def _append(self, path: Path, end: int, lines: Sequence[bytes]) -> int:
        """Lines after those that are known; what a crash left behind them comes again, and goes."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.truncate(end)
            file.seek(end)
            file.writelines(lines)
            file.flush()
            if self._fsync:
                os.fsync(file.fileno())
        return end + sum(map(len, lines))

    def _make_room(self, keep: Path | None) -> None:
        """Past a limit the oldest runs go, but for the one that is written."""
        self._unlooked_bytes = 0
        total, oldest_ns = 0, time.time_ns() - int(self._max_age_s * 1e9)
        for count, folder in enumerate(newest_first(self._folder)):
            written_ns, size = self._size(folder)
            total += size
            reason = "max_runs" if count >= self._max_runs else "max_bytes" if total > self._max_bytes else None
            reason = reason or ("max_age" if written_ns < oldest_ns else None)
            if reason and folder != keep:
                shutil.rmtree(folder, ignore_errors=True)
                self._sizes.pop(folder, None)
                if not folder.exists():
                    self._count("call_log_runs_removed", reason)

    def _size(self, folder: Path) -> tuple[int, int]:
        """When a run was written last, and how many bytes it has."""
        try:
            written_ns = (folder / INDEX).stat().st_mtime_ns
            known_ns, size = self._sizes.get(folder, (0, 0))
            if known_ns != written_ns:
                run = read(folder)
                size = run.size if run is not None else 0
                self._sizes[folder] = written_ns, size
        except (OSError, ValueError):
            return time.time_ns(), 0
        return written_ns, size


def _remember(where: OrderedDict[K, V], key: K, value: V) -> None:
    where[key] = value
    where.move_to_end(key)
    while len(where) > REMEMBERED:
        where.popitem(last=False)


def _after_all_there(folder: Path, run: Run) -> Run:
    """A run that writes over nothing."""
    files = (folder / CALLS).glob("call_*")
    run.numbered = max((int(found[1]) for file in files if (found := NUMBER.match(file.name))), default=0)
    with suppress(OSError):
        run.lines_end = (folder / LINES).stat().st_size
    return run


def _agent(seen: Observation) -> str:
    """The agent that an observation names or is; empty where it is none."""
    for key in AGENT_NAMES:
        if isinstance(named := seen.metadata.get(key), str) and named:
            return named[:MOST_NAME]
    return seen.name.removeprefix("invoke_agent ")[:MOST_NAME] if seen.type is ObservationType.AGENT else ""


def _run_id(said: object) -> str | None:
    if isinstance(said, int) and not isinstance(said, bool):
        said = str(said)
    return said if isinstance(said, str) and 0 < len(said) <= MOST_NAME else None


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EWOULDBLOCK, errno.EINTR)
    return True


def _few(counted: Mapping[str, V] | None) -> dict[str, V]:
    """As many buckets as a provider may have."""
    named = ((name, amount) for name, amount in (counted or {}).items() if len(name) <= MOST_BUCKET)
    return dict(islice(named, MOST_BUCKETS))


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
