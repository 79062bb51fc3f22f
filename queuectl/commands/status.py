"""`queuectl status`: how many jobs are in each state, and who works."""

from __future__ import annotations

from queuectl import spec
from queuectl.render import length

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser

    from queuectl.api import Queue
    from queuectl.render import Talk

EXAMPLES = """
examples:
  queuectl status
  queuectl status --json | jq .jobs.dead
"""


def arguments(parser: ArgumentParser) -> None:
    """Declare what `status` takes."""
    parser.set_defaults(run=run)


def run(queue: Queue, talk: Talk) -> int:
    """Print a line per state, then the workers and the oldest wait."""
    counts = queue.counts()
    workers = queue.workers()
    oldest = queue.storage.oldest_ready()
    wait_s = None if oldest is None else max(0, spec.now_ms() - oldest) / 1000
    if talk.as_json:
        told = [worker.as_json() for worker in workers]
        talk.json({"jobs": counts, "workers": told, "oldest_wait_s": wait_s})
        return 0
    for state, count in counts.items():
        talk.answer(f"{talk.paint(state, state)}: {count}")
    busy = sum(worker.job is not None for worker in workers)
    talk.answer(f"workers: {len(workers)} ({busy} busy)")
    if wait_s is not None:
        talk.answer(f"oldest wait: {length(wait_s)}")
    return 0
