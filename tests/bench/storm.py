"""Figures of a crowd: sixteen workers and sixteen clients at one file."""

from __future__ import annotations

import subprocess
import sys
import time

from queuectl import spec
from queuectl.lifecycle import Kind, Outcome, decide
from queuectl.storage import Storage
from tests.bench.figure import Bar, Figure, percentile, ratios
from tests.bench.lab import Lab, lab
from tests.bench.run import Size
from tests.bench.scale import enlist, row
from tests.support import wait_for

_CLIENT = """
import sys
from queuectl import Queue
queue = Queue()
sys.stdin.read(1)
for _ in range(int(sys.argv[1])):
    queue.enqueue(sys.argv[2])
"""


def storm(size: Size) -> list[Figure]:
    """Compare the throughput of a crowd to that of two workers and two clients."""
    calm, crowd = [], []
    claims: list[float] = []
    locked: list[str] = []
    with lab() as few, lab() as many:
        few.start(2, "--queue", "default")
        many.start(16, "--queue", "default")
        for number in range(max(2, size.rounds // 3)):
            both = [(few, 2, calm), (many, 16, crowd)]
            for ours, clients, times in both if number % 2 else reversed(both):
                took, waits, told = _storm(ours, clients, size.storm)
                times.append(took)
                locked += told
                if ours is many:
                    claims += waits
        locked += many.complaints() + few.complaints()
    milliseconds = [wait * 1000 for wait in claims]
    note = f"p50 {percentile(milliseconds, 0.5):.1f} ms, of {len(milliseconds)}"
    rounds = ratios(calm, crowd)
    rate = f"{size.storm / percentile(crowd, 0.5):.0f} jobs/s, enqueued one by one and run"
    what = "throughput, 16 workers + 16 clients : 2 + 2"
    return [
        Figure("storm", what, "x", rounds, Bar(0.8, at_least=True), rate),
        Figure("storm-claim", "p99 of a claim meanwhile", "ms",
               (percentile(milliseconds, 0.99),), note=note),
        Figure("storm-locked", "times 'database is locked'", "", (float(len(locked)),), Bar(0),
               locked[0][:60] if locked else ""),
    ]  # fmt: skip


def _storm(ours: Lab, clients: int, jobs: int) -> tuple[float, list[float], list[str]]:
    """Let clients enqueue while workers run it; give the seconds, the claims, the complaints."""
    ours.counted.write_bytes(b"")
    share = jobs // clients
    command = [sys.executable, "-c", _CLIENT, str(share), f"printf x >>{ours.counted}"]
    started = [
        subprocess.Popen(
            command, env=ours.env, cwd=ours.dir, stdin=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(clients)
    ]
    waits: list[float] = []
    prober = _Prober(ours)
    try:
        time.sleep(0.5)  # they have loaded what they need
        began = time.perf_counter()
        for client in started:
            assert client.stdin is not None
            client.stdin.write(b"!")
            client.stdin.flush()
        while ours.counted.stat().st_size < share * clients:
            waits += prober.claim()
            time.sleep(0.01)
        took = time.perf_counter() - began
        told = [client.communicate()[1].decode("utf-8", "replace") for client in started]
    finally:
        prober.close()
        for client in started:
            client.kill()
            client.wait()
    if any(client.returncode for client in started):
        raise RuntimeError(f"a client failed: {''.join(told)[:300]}")
    wait_for(lambda: not ours.queue.counts()["processing"], "the last record", 60)
    return took, waits, [text for text in told if "locked" in text]


class _Prober:
    """One more worker, which times its claims."""

    def __init__(self, ours: Lab) -> None:
        self._storage = Storage(ours.queue.place, flushed_later=True)
        self._me = enlist(self._storage)
        self._row = {**row(), "queue": "probe"}

    def claim(self) -> list[float]:
        """Claim a job of our own and give the seconds that took."""
        import dataclasses

        self._storage.insert([self._row], spec.now_ms())
        mine = dataclasses.replace(self._me, queues="probe")
        began = time.perf_counter()
        job = self._storage.claim(mine, spec.now_ms())
        took = time.perf_counter() - began
        assert job is not None
        outcome = Outcome(Kind.SUCCEEDED, exit_code=0, duration_s=0.0)
        now = spec.now_ms()
        self._storage.finish(job, outcome, decide(job, outcome, now), now, None)
        return [took]

    def close(self) -> None:
        self._storage.discharge_worker(self._me.id)
        self._storage.discharge_pool(self._me.pool)
        self._storage.close()
