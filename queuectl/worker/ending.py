"""End a running job from outside: its worker does it; where that is dead, we do."""

from __future__ import annotations

import time

from queuectl.errors import Conflict, NotFound, QueueError
from queuectl.spec import now_ms
from queuectl.worker import upkeep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from queuectl.job import Job
    from queuectl.place import Place
    from queuectl.storage import Storage

LOOK_S = 0.02
# Beyond the grace: what a worker may take to notice, to kill and to record.
PATIENCE_S = 10.0


def wait_cancelled(storage: Storage, place: Place, job: Job, *, force: bool) -> Job:
    """Wait until a job that was asked to end has ended, and give it as it then is.

    Raises Conflict where it ended by itself first, QueueError where it cannot be ended.
    """
    deadline = time.monotonic() + PATIENCE_S + upkeep.longest_grace(storage)
    while True:
        now = _again(storage, job)
        if now.state == "cancelled":
            return now
        if now.state in ("pending", "failed"):  # it ended by itself, and was to be retried
            return storage.cancel(job.id, now_ms())
        if now.state != "processing" or now.run != job.run:
            raise Conflict(f"job {job.id} ended before it could be cancelled: it is {now.state}")
        upkeep.recover_orphans(storage, place)
        if now.stuck or time.monotonic() > deadline:
            return _give_up(storage, now, force=force)
        time.sleep(LOOK_S)


def _again(storage: Storage, job: Job) -> Job:
    try:
        return storage.job(job.id)
    except NotFound:
        raise Conflict(f"job {job.id} was deleted meanwhile") from None


def _give_up(storage: Storage, job: Job, *, force: bool) -> Job:
    what = job.stuck or "it did not end in time"
    if not force:
        raise QueueError(
            f"job {job.id} could not be ended: {what}",
            f"To give it up all the same: queuectl cancel --force {job.id}",
        )
    storage.give_up(job, f"given up: {what}", now_ms())
    return storage.job(job.id)
