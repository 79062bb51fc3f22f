"""`queuectl show ID`: everything about one job."""

from __future__ import annotations

import json
import os

from queuectl import logs
from queuectl.errors import QueueError
from queuectl.render import (
    beginning,
    cell_width,
    cut,
    job_json,
    length,
    one_line,
    run_json,
    stamp,
    status_text,
    table,
    terminal_height,
    terminal_width,
)

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
LEAST_LINES = 3  # of output, however low the terminal is
LAST_BYTES = 4096
LAST_RUNS = 8
FACT_LINES = 3  # of a long command, label or reason, on a terminal
UNCUT = ("id", "unique", "schedule", "after", "directory", "log")  # what people type or paste
HEAD = ("RUN", "STARTED", "OUTCOME", "LENGTH", "CPU", "MEMORY", "LEFT", "END")
SPARE = ("STARTED", "LEFT", "CPU")


def arguments(parser: ArgumentParser) -> None:
    """Declare what `show` takes."""
    parser.add_argument("id", metavar="ID", help="a job's id")
    parser.set_defaults(run=run)


def run(queue: Queue, talk: Talk, *, id: str) -> int:
    """Print the job, each of its runs, and the end of its output."""
    job = queue.job(id)
    runs = queue.runs(job)
    if talk.as_json:
        paused = queue.storage.paused_queues()
        history = [run_json(each) for each in runs]
        talk.json({**job_json(job, queue.place, paused), "history": history})
        return 0
    told = _told(queue, talk, job, runs)
    output = _output(queue, job)
    if height := terminal_height():
        taken = sum(_height(line) for line in told)
        output = output[-max(LEAST_LINES, height - taken - 1) :]
    for line in (*told, *(_fitted(f"  | {line}") for line in output)):
        talk.answer(line)
    return 0


def _told(queue: Queue, talk: Talk, job: Job, runs: list[Run]) -> list[str]:
    """Give the lines before the output: what the job is, and its runs."""
    width = terminal_width()
    lines = []
    for name, value in _facts(queue, job):
        if value:
            shown = one_line(value)
            if width and name not in UNCUT:
                shown = beginning(value, max(8, width * FACT_LINES - 13))
            if name == "state":
                shown = talk.paint(shown, job.state)
            lines.append(f"{name:<12} {shown}")
    if runs:
        rows = [_row(each) for each in runs[-LAST_RUNS:]]
        lines += ["", *table(HEAD, rows, spare=SPARE).split("\n")]
    if len(runs) > LAST_RUNS:
        lines.append(f"and {len(runs) - LAST_RUNS} earlier runs: queuectl show {job.id} --json")
    return [*lines, ""] if runs else lines


def _facts(queue: Queue, job: Job) -> list[tuple[str, str | None]]:
    retries = f"{job.attempts} of {job.max_retries + 1}"
    parents = json.loads(job.after) if job.after else []
    return [
        ("id", job.id),
        ("command", job.command),
        ("state", job.state),
        ("why", queue.why(job.id).explanation),
        ("queue", f"{job.queue}, priority {job.priority}" + _slots(job)),
        ("label", job.label),
        ("unique", job.unique_key),
        ("schedule", job.schedule),
        ("after", ", ".join(map(str, parents))),
        ("attempts", f"{retries} (run {job.run})" if job.run != job.attempts else retries),
        ("backoff", f"{job.backoff_base:g} ^ n seconds, at most {length(job.backoff_max_s)}"),
        ("timeout", length(job.timeout_s) if job.timeout_s else None),
        ("expires", stamp(job.expires_at) if not job.run else None),
        ("directory", os.fsdecode(job.cwd)),
        ("enqueued", stamp(job.created_at)),
        ("runs at", stamp(job.run_at) if job.state in ("pending", "failed") else None),
        ("started", stamp(job.started_at)),
        ("ended", stamp(job.finished_at)),
        ("log", queue.place.log(job.id)),
    ]


def _slots(job: Job) -> str:
    if job.slots_held:
        return f", holds slots {job.slots_held}"
    return f", {job.slots} slots" if job.slots > 1 else ""


def _row(run: Run) -> tuple[str, ...]:
    return (
        str(run.run),
        str(stamp(run.started_at)),
        run.outcome or "running",
        length(run.duration_s),
        "-" if run.cpu_s is None else f"{run.cpu_s:.2f}s",
        "-" if run.max_rss_bytes is None else f"{run.max_rss_bytes / 1048576:.1f} MiB",
        _left(run.left_behind),
        status_text(run.exit_code, run.signal, run.error),
    )


def _left(count: int | None) -> str:
    """Say how many processes outlived the first one and were ended."""
    return "-" if not count else f"{count} process{'es' * (count > 1)}"


def _output(queue: Queue, job: Job) -> list[str]:
    """Give the last lines of output, made harmless."""
    path = queue.place.log(job.id)
    try:
        start = max(os.path.getsize(path) - LAST_BYTES, logs.tail_start(path, LAST_LINES))
        text = b"".join(logs.read(path, start)).decode("utf-8", "backslashreplace")
    except (OSError, QueueError):
        return []
    return [one_line(line) for line in text.removesuffix("\n").split("\n")] if text else []


def _height(line: str) -> int:
    """Count the lines of the terminal that a line takes."""
    return max(1, -(-cell_width(line) // (terminal_width() or 1)))


def _fitted(line: str) -> str:
    width = terminal_width()
    return cut(line, width) if width else line
