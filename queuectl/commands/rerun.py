"""`queuectl rerun ID…`: the same once more, as new jobs."""

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
  queuectl rerun 42        prints the id of the new job
"""


def arguments(parser: ArgumentParser) -> None:
    """Declare what `rerun` takes."""
    add_ids(parser)
    parser.set_defaults(run=run)


def run(queue: Queue, talk: Talk, *, ids: list[str]) -> int:
    """Enqueue each job's command, directory, environment and options anew; print the ids."""
    fresh: list[str] = []
    status = each(talk, ids, lambda job_id: fresh.append(queue.rerun(job_id)))
    if talk.as_json:
        paused = queue.storage.paused_queues()
        talk.json([job_json(queue.job(job_id), queue.place, paused) for job_id in fresh])
    else:
        for job_id in fresh:
            talk.answer(job_id)
    return status
