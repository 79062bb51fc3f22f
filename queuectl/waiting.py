"""Wait for jobs to end: woken by whoever ends one, not by looking again and again."""

from __future__ import annotations

import select
import time

from queuectl import wake

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from queuectl.job import Job
    from queuectl.place import Place
    from queuectl.storage import Storage

FALLBACK_S = 5.0  # a ring can be lost: whoever ended the job may have been killed before it
MANY = 500


def wait(
    storage: Storage, place: Place, jobs: Sequence[Job], timeout_s: float | None
) -> Iterator[tuple[Job, bool]]:
    """Give each job as it was when it ended, with True; after the timeout the rest, with False.

    One that was deleted meanwhile counts as it was last known.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    waited = {job.seq: job for job in jobs}
    bell = wake.waiting_bell(place)
    try:
        while waited:
            began = time.monotonic()
            for job in storage.ended_among(list(waited), waited):
                del waited[job.seq]
                yield job, True
            if not waited:
                return
            left_s = FALLBACK_S if deadline is None else min(FALLBACK_S, deadline - began)
            if left_s <= 0:
                break
            _sleep(bell, left_s, pause_s=min(1.0, 10 * (time.monotonic() - began)))
        yield from ((job, False) for job in waited.values())
    finally:
        bell.close()


def _sleep(bell: wake.Bell, left_s: float, pause_s: float) -> None:
    """Sleep until the bell rings; with many jobs in view, look rarely enough to stay cheap."""
    fd = bell.fileno()
    if fd < 0:
        time.sleep(min(left_s, 0.1))
        return
    if select.select([fd], [], [], left_s)[0]:
        if pause_s > 0.02:
            time.sleep(pause_s)
        bell.drain()
