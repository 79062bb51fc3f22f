"""`queuectl cancel ID…`: cancel jobs."""

from __future__ import annotations

from queuectl.commands.parsing import add_ids, each
from queuectl.render import job_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser

    from queuectl.api import Queue
    from queuectl.render import Talk

EXAMPLES = """
examples:
  queuectl cancel 42
  queuectl cancel $(queuectl list --label nightly -q)
"""


def arguments(parser: ArgumentParser) -> None:
    """Declare what `cancel` takes."""
    add_ids(parser)
    parser.set_defaults(run=run)


def run(queue: Queue, talk: Talk, *, ids: list[str]) -> int:
    """Cancel each job; one that is cancelled already is a note, not an error."""
    done = []

    def cancel(job_id: str) -> None:
        before = queue.job(job_id)
        if before.state == "cancelled":
            talk.warn(f"job {before.id} is cancelled already")
            job = before
        else:
            job = queue.cancel(job_id)
        done.append(job)
        if not talk.as_json:
            talk.answer(job.id if talk.quiet else f"Cancelled job {job.id}.")

    status = each(talk, ids, cancel)
    if talk.as_json:
        talk.json([job_json(job, queue.place) for job in done])
    return status
