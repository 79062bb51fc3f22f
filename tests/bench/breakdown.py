"""`python3 -m tests.bench.breakdown [--jobs N]`: where the time of one job goes, in its worker.

One worker runs jobs in this very process, with a clock around each of its steps. A step counts
without the steps in it, so that all of them add up to the whole.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections import Counter
from typing import Any

from queuectl import logs
from queuectl.spec import now_ms
from queuectl.storage import Storage, jobs, sqlite
from queuectl.worker import alive, loop, process, signals, tree
from queuectl.worker.shift import Shift
from tests.bench.lab import Lab, lab, scrub_environment, site

STEPS: tuple[tuple[Any, str, str], ...] = (
    (loop.Worker, "_read_settings", "read the settings"),
    (logs, "open_for_run", "create the log"),
    (loop.Worker, "_command", "put command and environment together"),
    (process, "_start", "start it: directory, umask, Popen"),
    (alive.Seat, "note", "note the session"),
    (Storage, "flush", "sync the record of the job before, beside this one"),
    (signals.Ear, "wait", "wait for it"),
    (process, "_outcome", "reap it and put the outcome together"),
    (process._Watch, "reap", "reap it and put the outcome together"),
    (loop, "decide", "decide"),
    (sqlite.Write, "__enter__", "take the lock, begin"),
    (jobs, "finish", "record its end"),
    (jobs, "claim", "claim the next one"),
    (sqlite.Write, "__exit__", "commit, let the lock go"),
    (sqlite.Connection, "checkpoint_if_long", "write the WAL back, now and then"),
)
FLOOR = "the same started and waited for by Popen alone"


class Clock:
    """Adds up the seconds of each step, without the steps in it."""

    def __init__(self) -> None:
        self.spent: Counter[str] = Counter()
        self._inner: list[float] = []

    def wrap(self, owner: Any, name: str, step: str) -> None:
        """Put the clock around a function or method."""
        original = getattr(owner, name)

        def timed(*words: Any, **more: Any) -> Any:
            began = time.perf_counter()
            self._inner.append(0.0)
            try:
                return original(*words, **more)
            finally:
                took = time.perf_counter() - began
                self.spent[step] += took - self._inner.pop()
                if self._inner:
                    self._inner[-1] += took

        setattr(owner, name, timed)


def main() -> int:
    """Measure and print microseconds a job."""
    parser = argparse.ArgumentParser("python3 -m tests.bench.breakdown", allow_abbrev=False)
    parser.add_argument("--jobs", type=int, default=1500)
    parser.add_argument("--dir", help="where to make the temporary directory")
    options = parser.parse_args()
    scrub_environment()
    with site(options.dir), lab() as ours:
        floor = _floor(ours, options.jobs)
        whole, clock = _worked(ours, options.jobs)
    told = [*clock.spent.most_common(), ("the rest: Python in between", 0.0)]
    told[-1] = (told[-1][0], whole - sum(clock.spent.values()))
    for step, seconds in [*told, ("one job, from start to start", whole), (FLOOR, floor)]:
        print(f"{seconds / options.jobs * 1e6:8.0f} µs  {step}")
    return 0


def _worked(ours: Lab, count: int) -> tuple[float, Clock]:
    ours.fill([f"printf x >>{ours.counted}"] * count)
    place = ours.queue.place
    ours.queue.close()
    storage = Storage(place)
    seat = alive.Seat(place, "pool")
    record = seat.record(now_ms()) | {"background": 0, "queues": None}
    pool = storage.enlist_pool(record)
    tree.become_subreaper()
    post = loop.Post(place, pool.id, Shift(1, burst=True), None)
    worker = loop.Worker(post, signals.Ear())
    clock = Clock()
    for step in STEPS:
        clock.wrap(*step)
    began = time.perf_counter()
    worker.work()
    whole = time.perf_counter() - began
    worker.leave()
    storage.discharge_pool(pool.id)
    storage.close()
    seat.leave()
    return whole, clock


def _floor(ours: Lab, count: int) -> float:
    null = os.open(os.devnull, os.O_RDWR)
    command = ["/bin/sh", "-c", f"printf x >>{ours.counted}"]
    began = time.perf_counter()
    for _ in range(count):
        subprocess.Popen(
            command, stdin=null, stdout=null, stderr=null, close_fds=False, start_new_session=True
        ).wait()
    took = time.perf_counter() - began
    os.close(null)
    return took


if __name__ == "__main__":
    sys.exit(main())
