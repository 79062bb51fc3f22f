"""`queuectl backup FILE`: a consistent copy of the queue while everything runs."""

from __future__ import annotations

import os

from queuectl.render import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser

    from queuectl.api import Queue
    from queuectl.render import Talk

EXAMPLES = """
examples:
  queuectl backup "/backup/queue-$(date +%F).db"
  queuectl --db /backup/queue-2026-12-01.db list      look into it
"""


def arguments(parser: ArgumentParser) -> None:
    """Declare what `backup` takes."""
    parser.add_argument("file", metavar="FILE", help="where to; it must not exist yet")
    parser.set_defaults(run=run)


def run(queue: Queue, talk: Talk, *, file: str) -> int:
    """Write the copy; jobs and their history are in it, logs are not."""
    path = os.path.abspath(file)
    size = queue.backup(path, lambda part: talk.progress(f"{part:.0%} copied"))
    talk.progress("")
    if talk.as_json:
        talk.json({"path": path, "bytes": size})
    else:
        told = f"{one_line(path)}: {size} bytes. Logs are not in it."
        talk.answer(path if talk.quiet else told)
    return 0
