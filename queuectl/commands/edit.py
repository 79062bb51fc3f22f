"""`queuectl edit ID…`: change the priority, queue or label of waiting jobs."""

from __future__ import annotations

from queuectl.commands.parsing import add_ids, each_job
from queuectl.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser

    from queuectl.api import Queue
    from queuectl.render import Talk

EXAMPLES = """
examples:
  queuectl edit 42 --priority 10
  queuectl edit 42 43 --queue slow --label later
"""


def arguments(parser: ArgumentParser) -> None:
    """Declare what `edit` takes."""
    add_ids(parser)
    parser.add_argument("--priority", metavar="N", help="higher runs earlier")
    parser.add_argument("--queue", dest="queue_name", metavar="Q", help="the queue to move it to")
    parser.add_argument("--label", metavar="TEXT", help="a word to find it by")
    parser.set_defaults(run=run)


def run(
    queue: Queue,
    talk: Talk,
    *,
    ids: list[str],
    priority: str | None,
    queue_name: str | None,
    label: str | None,
) -> int:
    """Edit each job."""
    asked = {"priority": priority, "queue": queue_name, "label": label}
    changes = {key: value for key, value in asked.items() if value is not None}
    if not changes:
        raise UsageError("nothing to change", "Say --priority, --queue or --label")
    return each_job(queue, talk, ids, lambda job_id: queue.edit(job_id, **changes), "Edited")
