"""`queuectl logs`: what a job wrote, byte for byte."""

from __future__ import annotations

import sys

from queuectl import logs, values
from queuectl.commands.parsing import option
from queuectl.errors import NotFound, UsageError
from queuectl.render import pause

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Iterable

    from queuectl.api import Queue
    from queuectl.job import Job
    from queuectl.render import Talk

EXAMPLES = """
examples:
  queuectl logs                 of the job that was started last
  queuectl logs -f 42           and what it goes on to write, until it has ended
  queuectl logs 42 -n 20        the last 20 lines
  queuectl logs 42 --run 2      only of its second run
  less "$(queuectl logs 42 --path)"
"""
LOOK_S = 0.06


def arguments(parser: ArgumentParser) -> None:
    """Declare what `logs` takes."""
    parser.add_argument("id", nargs="?", metavar="ID", help="a job's id (the one started last)")
    parser.add_argument(
        "-f", "--follow", action="store_true", help="go on, over every retry, until the job ends"
    )
    parser.add_argument("-n", dest="lines", metavar="N", help="begin with the last N lines")
    parser.add_argument("--run", dest="only", metavar="N", help="only of the job's Nth start")
    parser.add_argument("--path", action="store_true", help="print where the log is")
    parser.set_defaults(run=run)


def run(
    queue: Queue,
    talk: Talk,
    *,
    id: str | None,
    follow: bool,
    lines: str | None,
    only: str | None,
    path: bool,
) -> int:
    """Copy the log to stdout, unchanged."""
    if talk.as_json:
        raise UsageError("logs has no --json: it prints what the job wrote")
    wanted: int | None = option("-n", values.count, lines)  # type: ignore[assignment]
    number: int | None = option("--run", values.positive, only)  # type: ignore[assignment]
    job = queue.job(id) if id is not None else queue.last_started()
    if path:
        talk.answer(queue.place.log(job.id))
        return 0
    start, end = (0, None) if number is None else queue.log_part(job, number)
    start = _tail(queue, job, wanted, start, end)
    if follow and end is None:
        if not job.run:
            talk.tip(f"Job {job.id} has not run yet.")
        follow_to_end(queue, job, start, number)
    else:
        _print(queue, talk, job, start, end)
    return 0


def _tail(queue: Queue, job: Job, lines: int | None, start: int, end: int | None) -> int:
    """Give where the last lines begin; the very beginning where there is no log yet."""
    try:
        file = queue.place.log(job.id)
        return start if lines is None else logs.tail_start(file, lines, start, end)
    except FileNotFoundError:
        return start


def _print(queue: Queue, talk: Talk, job: Job, start: int, end: int | None) -> None:
    file = queue.place.log(job.id)
    try:
        _copy(logs.read(file, start, end))
    except FileNotFoundError:
        if job.run:
            raise NotFound(f"the log of job {job.id} is gone: {file}") from None
        talk.tip(f"Job {job.id} has not run yet.")


def follow_to_end(queue: Queue, job: Job, start: int = 0, number: int | None = None) -> None:
    """Copy what a job writes to stdout until it (or one run of it) has ended."""
    _copy(queue.follow_log(job, start, number, lambda: pause(LOOK_S)))


def _copy(chunks: Iterable[bytes]) -> None:
    if sys.stdout is None:
        raise OSError("standard output is closed")
    for chunk in chunks:
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
