"""Celery: a task is part of the trace of whoever asked for it, in a worker that is another process.

$ pip install celery opentelemetry-instrumentation-celery
$ cd examples
$ celery -A celery_tasks worker --concurrency 2 &
$ python celery_tasks.py /shelf
asked for the index of /shelf, and for a report some time
"""

import os
import sys
from pathlib import Path

from celery import Celery
from celery.signals import worker_process_shutdown
from opentelemetry import trace
from opentelemetry.instrumentation.celery import CeleryInstrumentor

from otel_bridge.sdk import agent_run, correlation, install, span, tool

QUEUE = os.environ.get("QUEUE", "/tmp/otel-bridge-celery")  # noqa: S108 - of a broker that needs no server
Path(QUEUE).mkdir(exist_ok=True)
folders = {"data_folder_in": QUEUE, "data_folder_out": QUEUE, "control_folder": f"{QUEUE}/control"}
app = Celery("celery_tasks", broker="filesystem://", broker_transport_options=folders)

installed = install(service="shelf")
CeleryInstrumentor().instrument()  # instrument(use_span_links=True): each task has a trace of its own, linked


@worker_process_shutdown.connect
def send_what_waits(**_said: object) -> None:
    """Celery ends its processes without telling Python."""
    installed.flush(2)


@tool("list_files")
def list_files(folder: str) -> list[str]:
    return [f"{folder}/{name}" for name in ("a.txt", "b.txt")]


@app.task
def index(folder: str) -> int:
    """Its span is a child of the one that asked: the trace is whole when the worker is done."""
    with agent_run("librarian", task=f"index {folder}"):
        return len(list_files(folder))


@app.task
def report(folder: str) -> None:
    """Only has to do with what asked for it: it has a trace of its own, linked, in the same session."""
    with span("report", {"folder": folder}, parent=trace.INVALID_SPAN, links=[trace.get_current_span()]):
        list_files(folder)


if __name__ == "__main__":
    with correlation(session="celery", user="ada"), span("POST /index"):
        index.delay(sys.argv[1])
        report.delay(sys.argv[1])
    print(f"asked for the index of {sys.argv[1]}, and for a report some time")
