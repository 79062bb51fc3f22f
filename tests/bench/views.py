"""Figures of looking into a large file: each command that looks, as a whole process.

What is told is the time above an interpreter that has loaded what no command can do without.
"""

from __future__ import annotations

from tests.bench.figure import Bar, Contestant, Figure, race
from tests.bench.lab import Lab, lab, seconds
from tests.bench.run import Size
from tests.bench.scale import grow

ENDED = "ready = 0, started_at = created_at, finished_at = created_at"
# What a large file holds beside pending and completed jobs, in thousandths.
KINDS = {
    "ready = 0, run_at = run_at + 900000000": 50,
    "ready = 0, held = 1, label = 'kept'": 20,
    "state = 'failed', ready = 0, started_at = created_at, run_at = run_at + 90000000": 29,
    f"state = 'dead', attempts = 1, run = 1, {ENDED}, exit_code = 1": 1,
    "queue = 'paused'": 100,
}
LOOKS = (
    "status", "list", "list --queue paused", "list --label kept", "list --label none",
    *(f"list --state {state}" for state in ("pending", "completed", "failed", "dead")),
    "list --since 1h", "list --since 1s", "list -q --limit 50", "why 1", "dlq list",
    "dlq list --group", "queue list",
)  # fmt: skip


def views(size: Size) -> list[Figure]:
    """Look into a file of `rows` jobs in every way, against Python that loads and ends."""
    with lab() as ours:
        ours.use_bare_python()
        grow(ours, size.rows * 4 // 10, completed=True)
        for changes, part in KINDS.items():
            grow(ours, size.rows * part // 1000, completed=False, changes=changes)
        ours.queue.pause("paused")
        bare = [ours.python, "-c", "import argparse, sqlite3"]
        field = [_timed(ours, "", bare)]
        field += [_timed(ours, look, ours.command(*look.split())) for look in LOOKS]
        race(field, 1)
        times = race(field, max(5, size.rounds))
    figures = []
    for look in LOOKS:
        above = zip(times[look], times[""], strict=True)
        rounds = tuple((whole - floor) * 1000 for whole, floor in above)
        what = f"{look}, {size.rows} jobs, above bare Python"
        name = "-".join(look.replace("-", " ").split())
        figures.append(Figure(name, what, "ms", rounds, Bar(100)))
    return figures


def _timed(ours: Lab, name: str, command: list[str]) -> Contestant:
    return Contestant(name, lambda: seconds(command, env=ours.env, cwd=ours.dir))
