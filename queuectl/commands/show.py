"""`queuectl show ID`: everything about one job."""

from __future__ import annotations

import os

from queuectl import logs
from queuectl.errors import QueueError
from queuectl.render import job_json, length, one_line, run_json, stamp, status_text, waiting_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser

    from queuectl.api import Queue
    from queuectl.job import Job, Run
    from queuectl.render import Talk

EXAMPLES = """
examples:
  queuectl show 42
  queuectl show 42 --json | jq .history
"""
LAST_LINES = 10
LAST_BYTES = 4096


def arguments(parser: ArgumentParser) -> None:
    """Declare what `show` takes."""
    parser.add_argument("id", metavar="ID", help="a job's id")
    parser.set_defaults(run=run)


def run(queue: Queue, talk: Talk, *, id: str) -> int:
    """Print the job, each of its runs, and the end of its output."""
    job = queue.job(id)
    runs = queue.runs(job)
    paused = queue.storage.paused_queues()
    if talk.as_json:
        history = [run_json(each) for each in runs]
        talk.json({**job_json(job, queue.place, paused), "history": history})
        return 0
    for name, value in _facts(queue, job, paused):
        if value:
            talk.answer(f"{name:<12} {one_line(value)}")
    for each in runs:
        talk.answer(_run_line(each))
    for line in _output(queue, job):
        talk.answer(f"  | {line}")
    return 0


def _facts(queue: Queue, job: Job, paused: set[str]) -> list[tuple[str, str | None]]:
    retries = f"{job.attempts} of {job.max_retries + 1}"
    return [
        ("id", job.id),
        ("command", job.command),
        ("state", job.state),
        ("waits for", _waits_for(job, paused)),
        ("why", job.stuck or (job.error if job.state in ("failed", "dead", "cancelled") else None)),
        ("queue", f"{job.queue}, priority {job.priority}"),
        ("label", job.label),
        ("attempts", f"{retries} (run {job.run})" if job.run != job.attempts else retries),
        ("backoff", f"{job.backoff_base:g} ^ n seconds, at most {length(job.backoff_max_s)}"),
        ("timeout", length(job.timeout_s) if job.timeout_s else None),
        ("directory", os.fsdecode(job.cwd)),
        ("enqueued", stamp(job.created_at)),
        ("started", stamp(job.started_at)),
        ("ended", stamp(job.finished_at)),
        ("log", queue.place.log(job.id)),
    ]


def _waits_for(job: Job, paused: set[str]) -> str | None:
    reason = waiting_for(job, paused)
    timed = reason in ("scheduled", "backoff")
    return f"{reason}, until {stamp(job.run_at)}" if timed else reason


def _run_line(run: Run) -> str:
    ended = status_text(run.exit_code, run.signal, run.error)
    used = f", cpu {run.cpu_s:.2f}s" if run.cpu_s is not None else ""
    memory = f", {run.max_rss_bytes >> 20} MiB" if run.max_rss_bytes is not None else ""
    left = f", {run.left_behind} processes left behind" if run.left_behind else ""
    outcome = run.outcome or "running"
    begin = f"run {run.run:<8} {stamp(run.started_at)}  {outcome:<11}"
    return one_line(f"{begin} {length(run.duration_s)}  {ended}{used}{memory}{left}")


def _output(queue: Queue, job: Job) -> list[str]:
    """Give the last lines of output, made harmless."""
    path = queue.place.log(job.id)
    try:
        size = os.path.getsize(path)
        start = max(size - LAST_BYTES, logs.tail_start(path, LAST_LINES))
        text = b"".join(logs.read(path, start)).decode("utf-8", "backslashreplace")
    except (OSError, QueueError):
        return []
    return [one_line(line) for line in text.splitlines()]
