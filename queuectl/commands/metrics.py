"""`queuectl metrics`: Prometheus text, for a scraper or the node exporter's text file collector."""

from __future__ import annotations

import os

from queuectl import spec
from queuectl.errors import QueueError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Iterable

    from queuectl.api import Queue
    from queuectl.render import Talk

EXAMPLES = """
examples:
  queuectl metrics
  queuectl metrics --output /var/lib/node_exporter/queuectl.prom    from cron
"""
STATES = ("pending", "processing", "completed", "failed", "dead", "cancelled")
WORKER_STATES = ("idle", "busy", "draining", "stopped")


def arguments(parser: ArgumentParser) -> None:
    """Declare what `metrics` takes."""
    parser.add_argument("--output", metavar="FILE", help="write there, whole or not at all")
    parser.set_defaults(run=run)


def run(queue: Queue, talk: Talk, *, output: str | None) -> int:
    """Print the metrics, or write them to a file."""
    if talk.as_json:
        raise UsageError("metrics has no --json: for that, queuectl status --json")
    text = "\n".join(_metrics(queue))
    if output is None:
        talk.answer(text)
    else:
        _replace(output, text + "\n")
    return 0


def _metrics(queue: Queue) -> Iterable[str]:
    yield from _family("jobs", "Jobs in the file, by queue and state.")
    for found in queue.queues():
        counts: dict[str, int] = found["counts"]  # type: ignore[assignment]
        for state in STATES:
            labels = f'queue="{found["name"]}",state="{state}"'
            yield f"queuectl_jobs{{{labels}}} {counts.get(state, 0)}"
    yield from _family("queue_paused", "Whether a queue is paused.")
    for found in queue.queues():
        yield f'queuectl_queue_paused{{queue="{found["name"]}"}} {int(bool(found["paused"]))}'
    yield from _family("workers", "Living workers, by state.")
    states = [worker.state for worker in queue.workers()]
    for state in WORKER_STATES:
        yield f'queuectl_workers{{state="{state}"}} {states.count(state)}'
    yield from _family("oldest_wait_seconds", "How long the oldest runnable job has waited.")
    now = spec.now_ms()
    oldest = min(queue.storage.runnable(now).values(), default=now)
    wait_s = max(0, now - oldest) / 1000
    yield f"queuectl_oldest_wait_seconds {wait_s}"
    yield from _family("stuck_jobs", "Jobs with a process that cannot be ended.")
    yield f"queuectl_stuck_jobs {sum(job.stuck is not None for job in queue.storage.processing())}"
    yield from _family("database_bytes", "Size of the database file and its WAL.")
    yield f"queuectl_database_bytes {_size(queue.place.db) + _size(queue.place.db + '-wal')}"


def _family(name: str, text: str) -> tuple[str, str]:
    return f"# HELP queuectl_{name} {text}", f"# TYPE queuectl_{name} gauge"


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _replace(path: str, text: str) -> None:
    """Put a text into a file so that no reader ever sees a part of it."""
    draft = f"{path}.{os.getpid()}.part"
    try:
        with open(draft, "x", encoding="utf-8") as file:  # never through what lies there already
            file.write(text)
        os.replace(draft, path)
    except OSError as error:
        if not isinstance(error, FileExistsError) and os.path.exists(draft):
            os.unlink(draft)
        raise QueueError(f"cannot write {path}: {error.strerror}") from None
