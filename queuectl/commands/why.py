"""`queuectl why ID`: the one reason why a job is where it is."""

from __future__ import annotations

from queuectl.render import moment, one_line, stamp
from queuectl.spec import now_ms

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser

    from queuectl.api import Queue
    from queuectl.render import Talk

EXAMPLES = """
examples:
  queuectl why 42
  queuectl why 42 --json | jq -r .reason
"""


def arguments(parser: ArgumentParser) -> None:
    """Declare what `why` takes."""
    parser.add_argument("id", metavar="ID", help="a job's id")
    parser.set_defaults(run=run)


def run(queue: Queue, talk: Talk, *, id: str) -> int:
    """Print the reason, and when the job is expected to run."""
    found = queue.why(id)
    if talk.as_json:
        talk.json(found.as_json())
        return 0
    state = talk.paint(found.job.state, found.job.state)
    talk.answer(one_line(f"job {found.job.id} is ") + f"{state}: {one_line(found.explanation)}")
    if found.expected_at is not None:
        expected = moment(found.expected_at, now_ms())
        talk.answer(f"expected to run {expected}, at {stamp(found.expected_at)}")
    return 0
