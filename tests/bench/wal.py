"""How large the write-ahead log gets under steady load, minute after minute."""

from __future__ import annotations

import os
import time

from tests.bench.lab import Lab, lab

RATE = 40  # jobs a second
TELL_S = 10.0


def watch(minutes: float) -> int:
    """Enqueue and run jobs steadily; print the size of the WAL and of the file."""
    with lab() as ours:
        ours.start(2)
        ours.counted.write_bytes(b"")
        print(f"{RATE} jobs a second for {minutes:g} minutes")
        print(f"{'seconds':>8} {'jobs':>8} {'done':>8} {'wal KiB':>9} {'largest':>9} {'db KiB':>9}")
        began = time.monotonic()
        jobs, largest, told = 0, 0, 0.0
        while (passed := time.monotonic() - began) < minutes * 60:
            while jobs < passed * RATE:
                ours.queue.enqueue(f"printf x >>{ours.counted}")
                jobs += 1
            size = _size(ours, "-wal")
            largest = max(largest, size)
            if passed - told >= TELL_S:
                told = passed
                _tell(ours, passed, jobs, size, largest)
            time.sleep(0.02)
        ours.wait_counted(jobs)
        _tell(ours, time.monotonic() - began, jobs, _size(ours, "-wal"), largest)
    return 0


def _tell(ours: Lab, passed: float, jobs: int, size: int, largest: int) -> None:
    done = ours.counted.stat().st_size
    print(
        f"{passed:>8.0f} {jobs:>8} {done:>8} {size // 1024:>9} {largest // 1024:>9} "
        f"{_size(ours, '') // 1024:>9}",
        flush=True,
    )


def _size(ours: Lab, suffix: str) -> int:
    try:
        return os.stat(f"{ours.db}{suffix}").st_size
    except FileNotFoundError:
        return 0
