"""`queuectl cancel ID…`: cancel jobs; a running one's whole process tree is ended first."""

from __future__ import annotations

from queuectl.commands.parsing import add_ids, each_job

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
    parser.add_argument(
        "--force", action="store_true", help="give up on a process that cannot be ended"
    )
    parser.set_defaults(run=run)


def run(queue: Queue, talk: Talk, *, ids: list[str], force: bool) -> int:
    """Cancel each job; one that is cancelled already is a note, not an error."""

    def cancel(job_id: str) -> bool:
        if queue.job(job_id).state == "cancelled":
            talk.warn(f"job {job_id} is cancelled already")
            return False
        queue.cancel(job_id, force=force)
        return True

    return each_job(queue, talk, ids, cancel, "Cancelled")
