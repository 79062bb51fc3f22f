"""The SQL of queues: pause, slots, rates. Limits hold over every pool and worker together."""

from __future__ import annotations

from queuectl.errors import NotFound, UsageError
from queuectl.storage.jobs import HEADS

SET_BACK_MS = 60_000  # twice what a worker may wait for the lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

    from queuectl.job import Job

    Db = sqlite3.Connection


# Where waiting jobs are found without a walk through those that have ended.
_TOO_LARGE = " UNION ALL ".join(
    f"SELECT id, slots FROM job INDEXED BY {index} WHERE {which} AND queue = :queue "
    "AND slots > :limit AND state IN ('pending', 'failed')"
    for index, which in (
        ("job_ready", "ready = 1"),
        ("job_due", "ready = 0 AND held = 0 AND waits = 0"),
        ("job_kept", "ready = 0 AND (held = 1 OR waits > 0)"),
    )
)


def know(db: Db, queue: str) -> None:
    """Make a queue known."""
    db.execute("INSERT INTO queue (name) VALUES (?) ON CONFLICT DO NOTHING", (queue,))


def refuse_misfit(db: Db, queue: str, slots: object) -> None:
    """Raise UsageError for a job that needs more slots than its queue has."""
    row = db.execute("SELECT concurrency FROM queue WHERE name = ?", (queue,)).fetchone()
    if row and row[0] is not None and row[0] < slots:
        raise UsageError(f"--slots {slots} never fits: queue {queue} has {row[0]} slots")


def misfits(db: Db) -> list[tuple[str, int, str, int]]:
    """Give the first in line that need more slots than their queue has: id, slots, queue, limit.

    Nothing overtakes them, so nothing of their queue runs any more.
    """
    return db.execute(
        f"SELECT job.id, job.slots, queue.name, queue.concurrency FROM {HEADS} "
        "WHERE queue.paused = 0 AND queue.concurrency < job.slots ORDER BY queue.name"
    ).fetchall()


def steady(db: Db, now: int) -> int:
    """Give a `now` that is not before a start that a rate limit remembers.

    A worker reads the clock before it waits for the lock, and may be late; counted from there, a
    window would miss the starts that were forgotten meanwhile. After a clock that was set back
    for long, what lies ahead is forgotten instead.
    """
    (latest,) = db.execute("SELECT max(at) FROM rate_start").fetchone()
    if latest is None or latest <= now:
        return now
    if latest - now > SET_BACK_MS:
        db.execute("DELETE FROM rate_start WHERE at > ?", (now,))
        return now
    return int(latest)


def take(db: Db, job: Job, now: int) -> Job:
    """Give a job that was just claimed its slots, and note its start against the rate."""
    from dataclasses import replace

    concurrency, window_ms = db.execute(
        "SELECT concurrency, rate_window_ms FROM queue WHERE name = ?", (job.queue,)
    ).fetchone()
    if window_ms is not None:
        db.execute(
            "DELETE FROM rate_start WHERE queue = ? AND at <= ?", (job.queue, now - window_ms)
        )
        start = (job.queue, now, job.seq, job.run)
        db.execute("INSERT INTO rate_start VALUES (?, ?, ?, ?)", start)
    if concurrency is None:
        return job
    free = db.execute(
        "SELECT place, name FROM slot WHERE queue = ? AND job IS NULL AND retired = 0 "
        "ORDER BY place LIMIT ?",
        (job.queue, job.slots),
    ).fetchall()
    for place, _ in free:
        db.execute(
            "UPDATE slot SET job = ? WHERE queue = ? AND place = ?", (job.seq, job.queue, place)
        )
    held = ",".join(name for _, name in free)
    db.execute("UPDATE job SET slots_held = ? WHERE seq = ?", (held, job.seq))
    return replace(job, slots_held=held)


def give_back(db: Db, job: Job) -> list[str]:
    """Free the slots of a job whose run has ended; give its queue once for each."""
    freed = db.execute("UPDATE slot SET job = NULL WHERE job = ?", (job.seq,)).rowcount
    if freed:
        db.execute("DELETE FROM slot WHERE retired = 1 AND job IS NULL")
    return [job.queue] * freed


def openings(db: Db) -> list[int]:
    """Give the instants at which a full rate window lets its queue's next job start."""
    found = []
    for queue, starts, window_ms in db.execute(
        "SELECT name, rate_starts, rate_window_ms FROM queue WHERE rate_starts IS NOT NULL "
        "AND paused = 0 AND EXISTS (SELECT 1 FROM job WHERE ready = 1 AND queue = queue.name)"
    ).fetchall():
        row = db.execute(
            "SELECT at FROM rate_start WHERE queue = ? ORDER BY at DESC LIMIT 1 OFFSET ?",
            (queue, starts - 1),
        ).fetchone()
        found += [row[0] + window_ms] if row else []
    return found


def set_slots(db: Db, queue: str, names: Sequence[str] | None) -> list[tuple[str, int]]:
    """Give a queue these slots, in order of preference; None lifts the limit.

    Slots in use stay with their jobs until those end; running jobs that have none get one that
    counts and then goes, so that the limit holds from now on. Gives the waiting jobs that can
    never fit any more, and what each needs.
    """
    know(db, queue)
    db.execute("DELETE FROM slot WHERE queue = ? AND job IS NULL", (queue,))
    busy = db.execute("SELECT name, job FROM slot WHERE queue = ?", (queue,)).fetchall()
    db.execute("DELETE FROM slot WHERE queue = ?", (queue,))
    limit = None if names is None else len(names)
    db.execute("UPDATE queue SET concurrency = ? WHERE name = ?", (limit, queue))
    if names is None:
        return []
    kept = {job for _, job in busy}
    busy += [("-", seq) for seq in _running(db, queue) if seq not in kept]
    place = 0
    for name in names:
        holder = next((pair for pair in busy if pair[0] == name), None)
        if holder:
            busy.remove(holder)
        _add(db, queue, place, name, holder[1] if holder else None, retired=0)
        place += 1
    for name, job in busy:
        _add(db, queue, place, name, job, retired=1)
        place += 1
    return db.execute(_TOO_LARGE, {"queue": queue, "limit": limit}).fetchall()


def set_rate(db: Db, queue: str, starts: int | None, window_ms: int | None, now: int) -> None:
    """Allow at most so many starts in any window; starts of the last window count already."""
    know(db, queue)
    db.execute(
        "UPDATE queue SET rate_starts = ?, rate_window_ms = ? WHERE name = ?",
        (starts, window_ms, queue),
    )
    db.execute("DELETE FROM rate_start WHERE queue = ?", (queue,))
    if window_ms is not None:
        db.execute(
            "INSERT INTO rate_start SELECT job.queue, run.started_at, run.job, run.run "
            "FROM job JOIN run ON run.job = job.seq "
            "WHERE job.queue = ? AND job.updated_at > ? AND run.started_at > ?",
            (queue, now - window_ms, now - window_ms),
        )


def set_paused(db: Db, queue: str | None, paused: bool) -> list[str]:
    """Pause or resume a queue (None: all, those to come too); name those that changed.

    That all are paused is noted among the settings, where a trigger finds it.
    """
    if queue is None and paused:
        db.execute("INSERT OR IGNORE INTO config VALUES ('pause-all', '')")
    elif queue is None:
        db.execute("DELETE FROM config WHERE key = 'pause-all'")
    elif paused:
        know(db, queue)
    elif not db.execute("SELECT 1 FROM queue WHERE name = ?", (queue,)).fetchone():
        raise NotFound(f"there is no queue {queue}", "To see them: queuectl queue list")
    rows = db.execute(
        "UPDATE queue SET paused = ?1 WHERE paused <> ?1 AND (?2 IS NULL OR name = ?2) "
        "RETURNING name",
        (int(paused), queue),
    ).fetchall()
    return [name for (name,) in rows]


def queues(db: Db) -> list[Mapping[str, object]]:
    """List the known queues with their limits and the number of their jobs in each state."""
    counts: dict[str, dict[str, int]] = {}
    for queue, state, jobs in db.execute("SELECT queue, state, jobs FROM tally"):
        counts.setdefault(queue, {})[state] = jobs
    slots: dict[str, list[str]] = {}
    for queue, name in db.execute("SELECT queue, name FROM slot WHERE retired = 0 ORDER BY place"):
        slots.setdefault(queue, []).append(name)
    return [
        {
            "name": name,
            "paused": bool(paused),
            "concurrency": concurrency,
            "slots": slots.get(name),
            "rate_starts": starts,
            "rate_window_ms": window_ms,
            "counts": counts.get(name, {}),
        }
        for name, paused, concurrency, starts, window_ms in db.execute(
            "SELECT name, paused, concurrency, rate_starts, rate_window_ms FROM queue ORDER BY name"
        ).fetchall()
    ]


def _running(db: Db, queue: str) -> list[int]:
    """List running jobs of a queue, once for each slot that they count for."""
    rows = db.execute(
        "SELECT seq, slots FROM job WHERE state = 'processing' AND queue = ?", (queue,)
    )
    return [seq for seq, slots in rows.fetchall() for _ in range(slots)]


def _add(db: Db, queue: str, place: int, name: str, job: int | None, *, retired: int) -> None:
    db.execute("INSERT INTO slot VALUES (?, ?, ?, ?, ?)", (queue, place, name, job, retired))
