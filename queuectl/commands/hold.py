"""`queuectl hold ID…`: keep waiting jobs from being started."""

from __future__ import annotations

from queuectl.commands.parsing import add_ids, each_job

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser

    from queuectl.api import Queue
    from queuectl.render import Talk

EXAMPLES = """
examples:
  queuectl hold 42 43
  queuectl release 42
"""


def arguments(parser: ArgumentParser) -> None:
    """Declare what `hold` takes."""
    add_ids(parser)
    parser.set_defaults(run=run)


def run(queue: Queue, talk: Talk, *, ids: list[str]) -> int:
    """Hold each job; one that is held already is a note."""

    def hold(job_id: str) -> bool:
        happened = queue.hold(job_id)
        if not happened:
            talk.warn(f"job {job_id} is held already")
        return happened

    return each_job(queue, talk, ids, hold, "Held")
