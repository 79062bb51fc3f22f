"""`queuectl release ID…`: lift a hold, and with --now a delay or a backoff."""

from __future__ import annotations

from queuectl.commands.parsing import add_ids, each_job

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser

    from queuectl.api import Queue
    from queuectl.render import Talk

EXAMPLES = """
examples:
  queuectl release 42
  queuectl release --now 42        do not wait for its delay or backoff either
"""


def arguments(parser: ArgumentParser) -> None:
    """Declare what `release` takes."""
    add_ids(parser)
    parser.add_argument("--now", action="store_true", help="drop a delay or a backoff, too")
    parser.set_defaults(run=run)


def run(queue: Queue, talk: Talk, *, ids: list[str], now: bool) -> int:
    """Release each job; one that nothing holds is a note."""

    def release(job_id: str) -> bool:
        happened = queue.release(job_id, at_once=now)
        if not happened:
            talk.warn(f"nothing holds job {job_id}")
        return happened

    return each_job(queue, talk, ids, release, "Released")
