"""`queuectl logs`: what a job wrote, byte for byte."""

from __future__ import annotations

import sys

from queuectl import logs, values
from queuectl.commands.parsing import option
from queuectl.errors import NotFound, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser

    from queuectl.api import Queue
    from queuectl.job import Job
    from queuectl.render import Talk

EXAMPLES = """
examples:
  queuectl logs                 of the job that was started last
  queuectl logs 42 -n 20        the last 20 lines
  less "$(queuectl logs 42 --path)"
"""


def arguments(parser: ArgumentParser) -> None:
    """Declare what `logs` takes."""
    parser.add_argument("id", nargs="?", metavar="ID", help="a job's id (the one started last)")
    parser.add_argument("-n", dest="lines", metavar="N", help="only the last N lines")
    parser.add_argument("--path", action="store_true", help="print where the log is")
    parser.set_defaults(run=run)


def run(queue: Queue, talk: Talk, *, id: str | None, lines: str | None, path: bool) -> int:
    """Copy the log to stdout, unchanged."""
    if talk.as_json:
        raise UsageError("logs has no --json: it prints what the job wrote")
    wanted = option("-n", values.count, lines)
    job = queue.job(id) if id is not None else _last(queue)
    file = queue.place.log(job.id)
    if path:
        talk.answer(file)
        return 0
    try:
        start = 0 if wanted is None else logs.tail_start(file, int(wanted))  # type: ignore[call-overload]
        for chunk in logs.read(file, start):
            _copy(chunk)
    except FileNotFoundError:
        if job.run:
            raise NotFound(f"the log of job {job.id} is gone: {file}") from None
        talk.tip(f"Job {job.id} has not run yet.")
    return 0


def _last(queue: Queue) -> Job:
    job = queue.storage.last_started()
    if job is None:
        raise NotFound("no job has been started yet", "To see what waits: queuectl list")
    return job


def _copy(chunk: bytes) -> None:
    if sys.stdout is None:
        raise OSError("standard output is closed")
    sys.stdout.buffer.write(chunk)
