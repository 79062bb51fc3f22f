"""Figures of what a user waits for: enqueueing, draining, starting; and what idling costs."""

from __future__ import annotations

import sqlite3
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from queuectl.errors import QueueError
from tests.bench import lab as place
from tests.bench import peers
from tests.bench.figure import Bar, Contestant, Figure, percentile, race, ratios
from tests.bench.lab import Lab, lab
from tests.support import wait_for

FLOOR = "xargs -P2"


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    rounds: int
    jobs: int  # in one drain
    enqueues: int
    lines: int  # in one file
    idle_s: float
    rows: int  # of each kind in a large file
    storm: int  # jobs


QUICK = Size(rounds=3, jobs=120, enqueues=12, lines=20_000, idle_s=3, rows=100_000, storm=320)
FULL = Size(rounds=9, jobs=1000, enqueues=60, lines=200_000, idle_s=30, rows=1_000_000, storm=3200)


def drain(size: Size) -> list[Figure]:
    """Run small jobs with two workers, against xargs with two processes."""
    with lab() as full, lab() as normal:
        normal.ok("config", "set", "durability", "normal")
        for each in (full, normal):
            each.start(2)
        others = peers.drains(full.dir, size.jobs)
        field = [
            Contestant(FLOOR, lambda: _xargs(full.dir, size.jobs)),
            Contestant("full", lambda: full.drain(size.jobs)),
            Contestant("normal", lambda: normal.drain(size.jobs)),
            *(each for each in others if isinstance(each, Contestant)),
        ]
        race(field, 1)  # warm up
        times = race(field, size.rounds)
        peers.clear(full.dir)
    bars = {"full": Bar(0.45, at_least=True), "normal": Bar(0.55, at_least=True)}
    figures = []
    for each in field[1:]:
        rate = size.jobs / sorted(times[each.name])[len(times[each.name]) // 2]
        what = f"throughput of 2 workers, {each.name}" if each.name in bars else each.name
        rounds = ratios(times[FLOOR], times[each.name])
        note = f"{rate:.0f} jobs/s of {size.jobs}"
        bar = bars.get(each.name)
        name = "drain-" + each.name.split()[0]
        figures.append(Figure(name, f"{what} : {FLOOR}", "x", rounds, bar, note))
    return figures + [each for each in others if isinstance(each, Figure)]


def _xargs(folder: Path, jobs: int) -> float:
    counted = folder / "floor"
    counted.write_bytes(b"")
    lines = f"printf x >>{counted}\n" * jobs
    began = time.perf_counter()
    subprocess.run(
        ["xargs", "-P2", "-d", "\\n", "-n1", "sh", "-c"], input=lines.encode(), check=True
    )
    took = time.perf_counter() - began
    assert counted.stat().st_size == jobs
    return took


def enqueue(size: Size) -> list[Figure]:
    """Enqueue one job, as a whole process, against Python loading what it cannot do without."""
    with lab() as ours:
        ours.use_bare_python()
        ours.enqueue("true")  # makes the file
        floor = [ours.python, "-c", "import argparse, sqlite3"]
        others = peers.enqueues(ours.dir)
        field = [
            Contestant("floor", lambda: place.seconds(floor, env=ours.env, cwd=ours.dir)),
            Contestant("enqueue", lambda: _enqueue(ours)),
            *(each for each in others if isinstance(each, Contestant)),
        ]
        race(field, 2)
        times = race(field, size.enqueues)
        peers.clear(ours.dir)
    figures = []
    for each in field[1:]:
        own = each.name == "enqueue"
        middle = percentile(times[each.name], 0.5)
        figures.append(
            Figure(
                "enqueue" if own else f"enqueue-{each.name.split()[0]}",
                f"{each.name}, a whole process : python3 -c 'import argparse, sqlite3'",
                "x",
                ratios(times[each.name], times["floor"]),
                Bar(1.25) if own else None,
                f"{middle * 1000:.1f} ms, floor {percentile(times['floor'], 0.5) * 1000:.1f} ms",
            )
        )
    return figures + [each for each in others if isinstance(each, Figure)]


def _enqueue(ours: Lab) -> float:
    return place.seconds(ours.command("enqueue", "true"), env=ours.env, cwd=ours.dir)


def latency(size: Size) -> list[Figure]:
    """Enqueue single jobs for idle workers: how long until each is started."""
    waits = []
    with lab() as ours:
        ours.start(2)
        for _ in range(size.enqueues):
            time.sleep(0.03)  # workers that are idle, not about to be
            job_id = ours.enqueue("true")
            job = wait_for(lambda: _ended(ours, job_id), "a job to end", 60)  # noqa: B023
            waits.append(float(job.started_at - job.created_at))  # type: ignore[attr-defined]
    what = "enqueue to start, idle workers"
    note = f"p90 {percentile(waits, 0.9):.0f} ms"
    return [Figure("latency", f"{what}, p50", "ms", tuple(waits), Bar(5), note)]


def _ended(ours: Lab, job_id: str) -> object:
    job = ours.queue.job(job_id)
    return job if job.finished_at else None


def idle(size: Size) -> list[Figure]:
    """Watch four workers and their supervisor do nothing."""
    with lab() as ours:
        ours.start(4)
        workers = ours.worker_pids()
        pool = [*workers, place.parent(workers[0])]
        time.sleep(1.5)  # what they do once at their start is over
        rounds = []
        for _ in range(3):
            before, began = sum(map(place.cpu_s, pool)), time.perf_counter()
            time.sleep(size.idle_s / 3)
            spent = sum(map(place.cpu_s, pool)) - before
            rounds.append(spent * 1000 / (time.perf_counter() - began))
        sizes = [place.pss_bytes(pid) / 2**20 for pid in workers]
        whole = sum(place.pss_bytes(pid) for pid in pool) / 2**20
    return [
        Figure("idle-cpu", "4 idle workers and supervisor", "ms/s", tuple(rounds), Bar(1)),
        Figure(
            "idle-memory", "an idle worker (PSS, of 4)", "MiB", tuple(sizes), Bar(8),
            f"with the supervisor {whole:.1f} MiB in all",
        ),
    ]  # fmt: skip


def bulk(size: Size) -> list[Figure]:
    """Enqueue a file of jobs, against bare rows into one indexed table."""
    what = f"enqueue --file, {size.lines} lines : raw executemany"
    with lab() as ours:
        if b"--file" not in ours.ok("enqueue", "--help").raw:
            return [Figure("bulk", what, missing="enqueue --file is not there")]
        lines = ours.dir / "lines"
        lines.write_text("".join(f"echo {number}\n" for number in range(size.lines)))
        field = [
            Contestant("floor", lambda: _executemany(ours.dir, size.lines)),
            Contestant("ours", lambda: _file(ours, lines, size.lines)),
        ]
        times = race(field, size.rounds)
    rate = size.lines / percentile(times["ours"], 0.5)
    rounds = ratios(times["floor"], times["ours"])
    note = f"{rate:.0f} jobs/s, a whole process"
    return [Figure("bulk", what, "x", rounds, Bar(0.2, at_least=True), note)]


def _file(ours: Lab, lines: Path, count: int) -> float:
    before = ours.queue.counts()["pending"]
    took = place.seconds(ours.command("enqueue", "-q", "--file", str(lines)), env=ours.env)
    if ours.queue.counts()["pending"] - before != count:
        raise QueueError("not every line was enqueued")
    return took


def _executemany(folder: Path, count: int) -> float:
    path = folder / "floor.db"
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, queue, priority, run_at, command)")
    db.execute("CREATE INDEX i ON t (queue, priority, run_at)")
    began = time.perf_counter()
    db.execute("BEGIN IMMEDIATE")
    rows = (("default", 0, 1_800_000_000_000, f"echo {number}") for number in range(count))
    db.executemany("INSERT INTO t (queue, priority, run_at, command) VALUES (?, ?, ?, ?)", rows)
    db.execute("COMMIT")
    took = time.perf_counter() - began
    db.close()
    path.unlink()
    return took
