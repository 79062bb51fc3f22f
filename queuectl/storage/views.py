"""The SQL that only looks: counts, histories, who waits for what. Lists are beside it."""

from __future__ import annotations

from queuectl.lifecycle import ENDED
from queuectl.storage.jobs import columns, read
from queuectl.storage.listing import DUE, PROCESSING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from queuectl.job import Job, Run
    from queuectl.storage.jobs import Db

# In each open queue, from each priority to the next lower one: within one, the index is in the
# order of waiting. That is as many steps as there are different priorities, not jobs.
_OLDEST = """
WITH RECURSIVE step (queue, priority) AS (
    SELECT name, (SELECT max(priority) FROM job WHERE ready = 1 AND queue = queue.name)
    FROM queue WHERE paused = 0
    UNION ALL
    SELECT queue, (SELECT max(priority) FROM job
                   WHERE ready = 1 AND queue = step.queue AND priority < step.priority)
    FROM step WHERE priority IS NOT NULL)
SELECT queue, min((SELECT min(run_at) FROM job
                   WHERE ready = 1 AND queue = step.queue AND priority = step.priority))
FROM step WHERE priority IS NOT NULL GROUP BY queue
"""
FOREVER = 1 << 62  # an instant (ms) that no job reaches


def runs(db: Db, job: Job) -> list[Run]:
    """Give every run of a job, oldest first."""
    from queuectl.job import Run

    rows = db.execute(f"SELECT {columns(Run)} FROM run WHERE job = ? ORDER BY run", (job.seq,))
    return [Run(*row) for row in rows]


def processing(db: Db, worker_id: int | None) -> list[Job]:
    """List the jobs that are being processed (by one worker)."""
    tail = "WHERE state = 'processing' AND (?1 IS NULL OR worker = ?1) ORDER BY started_at, seq"
    return read(db, tail, (worker_id,))


def dead(db: Db, queue: str | None) -> list[Job]:
    """List the dead letter queue (of one queue), the latest first."""
    tail = (
        "WHERE state = 'dead' AND finished_at IS NOT NULL AND (?1 IS NULL OR queue = ?1) "
        "ORDER BY finished_at DESC, seq DESC"
    )
    return read(db, tail, (queue,))


def ended(
    db: Db, states: Sequence[str], before: int | None, queue: str | None, limit: int
) -> list[Job]:
    """List jobs that ended in one of these states before an instant, the oldest first."""
    of_it = "" if queue is None else "AND queue = :queue"
    values = {"before": FOREVER if before is None else before, "queue": queue, "limit": limit}
    found: list[Job] = []
    for state in states:
        tail = (
            f"WHERE finished_at IS NOT NULL AND state = :state AND finished_at < :before {of_it} "
            "ORDER BY finished_at LIMIT :limit"
        )
        found += read(db, tail, {**values, "state": state})
    return sorted(found, key=lambda job: job.finished_at or 0)[:limit]


def count_ended(db: Db, states: Sequence[str], before: int | None) -> int:
    """Count the jobs that ended in one of these states before an instant."""
    marks = ", ".join(f"'{state}'" for state in states)
    row = db.execute(
        f"SELECT count(*) FROM job WHERE finished_at IS NOT NULL AND state IN ({marks}) "
        "AND finished_at < ?",
        (FOREVER if before is None else before,),
    ).fetchone()
    return int(row[0])


def last_started(db: Db) -> Job | None:
    """Give the job that was started last.

    The tally remembers it for each queue. Only where that one was deleted all jobs are searched:
    an index on started_at would cost every start of a job 4 %.
    """
    latest = [
        seq
        for (seq,) in db.execute("SELECT latest FROM tally WHERE state = 'processing'").fetchall()
    ]
    found = [job for seq in latest for job in read(db, "WHERE seq = ?", (seq,))]
    if latest and len(found) == len(latest):
        return max(found, key=lambda job: (job.started_at or 0, job.seq))
    tail = "WHERE started_at IS NOT NULL ORDER BY started_at DESC, seq DESC LIMIT 1"
    return next(iter(read(db, tail)), None)


def tally(db: Db) -> dict[str, int]:
    """Count the jobs in each state; the counts are kept by triggers."""
    return dict(db.execute("SELECT state, sum(jobs) FROM tally GROUP BY state"))


def runnable(db: Db, now: int) -> dict[str, int]:
    """Give for each open queue with runnable jobs since when the oldest of them waits.

    A job that has become due counts though nobody has promoted it: there may be no worker.
    """
    found: dict[str, int] = dict(db.execute(_OLDEST).fetchall())
    due = db.execute(
        f"SELECT queue, run_at FROM job INDEXED BY job_due WHERE {DUE} AND run_at <= ? "
        "AND NOT EXISTS (SELECT 1 FROM queue WHERE name = job.queue AND paused = 1) "
        "ORDER BY run_at LIMIT 1000",
        (now,),
    )
    for queue, since in due.fetchall():
        found[queue] = min(found.get(queue, since), since)
    return found


def count_ready(db: Db, queues: Sequence[str]) -> int:
    """Count the runnable jobs of those of these queues (none: all) that are not paused."""
    marks = ", ".join("?" * len(queues))
    of_these = f"AND name IN ({marks})" if queues else ""
    row = db.execute(
        "SELECT coalesce(sum((SELECT count(*) FROM job WHERE ready = 1 AND queue = queue.name)), 0)"
        f" FROM queue WHERE paused = 0 {of_these}",
        queues,
    ).fetchone()
    return int(row[0])


PACE_ENDS = 1000  # of so many ends at most,
PACE_MS = 300_000  # none of them older than this, a rate is measured,
PACE_LEAST_S = 10.0  # over at least so long: one job that has just ended is no trend


def pace(db: Db, now: int, queues: Sequence[str] = ()) -> float | None:
    """Give how many jobs (of these queues; none: all) end in a second; None: none has lately."""
    ends: list[int] = []
    for state in ("completed", "dead"):
        rows = db.execute(
            "SELECT queue, finished_at FROM job WHERE finished_at IS NOT NULL AND state = ? "
            "AND finished_at > ? ORDER BY finished_at DESC LIMIT ?",
            (state, now - PACE_MS, PACE_ENDS),
        )
        ends += [at for queue, at in rows.fetchall() if not queues or queue in queues]
    ends = sorted(ends, reverse=True)[:PACE_ENDS]
    return len(ends) / max(PACE_LEAST_S, (now - ends[-1]) / 1000) if ends else None


AHEAD_LIMIT = 10_000  # who stands behind more wants no exact number


def ahead(db: Db, job: Job, queues: Sequence[str] = ()) -> int:
    """Count the runnable jobs that come before this one in open queues (none: any queue)."""
    count = 0
    for (queue,) in db.execute("SELECT name FROM queue WHERE paused = 0").fetchall():
        if count >= AHEAD_LIMIT or (queues and queue not in queues):
            continue
        count += db.execute(
            "SELECT count(*) FROM (SELECT 1 FROM job WHERE ready = 1 AND queue = :queue "
            "AND priority > :priority LIMIT :limit)",
            {"queue": queue, "priority": job.priority, "limit": AHEAD_LIMIT},
        ).fetchone()[0]
        count += db.execute(
            "SELECT count(*) FROM (SELECT 1 FROM job WHERE ready = 1 AND queue = :queue "
            "AND priority = :priority AND (run_at, seq) < (:run_at, :seq) LIMIT :limit)",
            {**vars(job), "queue": queue, "limit": AHEAD_LIMIT},
        ).fetchone()[0]
    return min(count, AHEAD_LIMIT)


def parents(db: Db, job: Job) -> list[tuple[str, str, str]]:
    """List what a job waits for, or fell with: id and state, and what it needs of that one."""
    return db.execute(
        "SELECT job.id, job.state, needs FROM dependency JOIN job ON job.seq = parent "
        "WHERE child = ? ORDER BY parent LIMIT 1000",
        (job.seq,),
    ).fetchall()


def limits_of(db: Db, job: Job, now: int) -> dict[str, object]:
    """Give what a job's queue allows: paused, concurrency, how many slots are taken and by
    whom, and when its rate lets the next job start (None: at once)."""
    paused, concurrency, starts, window_ms = db.execute(
        "SELECT paused, concurrency, rate_starts, rate_window_ms FROM queue WHERE name = ?",
        (job.queue,),
    ).fetchone()
    taken = db.execute(
        "SELECT job.id FROM slot JOIN job ON job.seq = slot.job WHERE slot.queue = ? "
        "ORDER BY job.seq",
        (job.queue,),
    ).fetchall()
    row = (
        starts
        and db.execute(
            "SELECT at + ? FROM rate_start WHERE queue = ? ORDER BY at DESC LIMIT 1 OFFSET ?",
            (window_ms, job.queue, starts - 1),
        ).fetchone()
    )
    return {
        "paused": bool(paused),
        "concurrency": concurrency,
        "taken": len(taken),
        "holders": list(dict.fromkeys(holder for (holder,) in taken)),
        "opens_at": row[0] if row and row[0] > now else None,
        "rate": starts and f"{starts} starts in {window_ms / 1000:g}s",
    }


def ended_since(
    db: Db, since: int | None
) -> Iterator[tuple[str, str, str, int, int | None, float | None]]:
    """Give of each job that has ended since an instant: its queue, command and state, how often
    it was started, how long its last run waited (ms) and how long that took (s)."""
    for state in ENDED:
        yield from db.execute(
            "SELECT queue, command, state, run, started_at - run_at, duration_s FROM job "
            "WHERE finished_at IS NOT NULL AND state = ? AND finished_at >= ?",
            (str(state), since or 0),
        )


def paused_queues(db: Db) -> set[str]:
    """Name the queues that are paused."""
    return {row[0] for row in db.execute("SELECT name FROM queue WHERE paused = 1")}


def is_quiet(db: Db, queues: Sequence[str], now: int) -> bool:
    """Say whether nothing is processing, runnable or backing off in these queues (none: all)."""
    marks = ", ".join(f"?{number}" for number in range(1, len(queues) + 1))
    of_these = f"AND queue IN ({marks})" if queues else ""
    named = f"AND name IN ({marks})" if queues else ""
    for question in (
        f"SELECT 1 FROM job WHERE {PROCESSING} {of_these}",
        # Jobs of a paused queue are not walked through,
        f"SELECT 1 FROM queue WHERE paused = 0 {named} "
        "AND EXISTS (SELECT 1 FROM job WHERE ready = 1 AND queue = queue.name)",
        f"SELECT 1 FROM job WHERE {DUE} {of_these} AND run_at <= {now:d}",
        # nor those that are only delayed: there must be a failed one at all.
        f"SELECT 1 FROM tally WHERE state = 'failed' AND jobs > 0 {of_these} "
        "AND EXISTS (SELECT 1 FROM job INDEXED BY job_failed WHERE state = 'failed' "
        "AND ready = 0 AND held = 0 AND queue = tally.queue)",
    ):
        if db.execute(f"{question} LIMIT 1", queues).fetchone():
            return False
    return True


def ended_badly(db: Db, since: int, queues: Sequence[str]) -> bool:
    """Say whether a job of these queues (none: all) ended dead or cancelled since an instant."""
    marks = ", ".join("?" * len(queues))
    of_these = f"AND queue IN ({marks})" if queues else ""
    found = db.execute(
        "SELECT 1 FROM job WHERE state IN ('dead', 'cancelled') AND finished_at IS NOT NULL "
        f"AND finished_at >= ? {of_these} LIMIT 1",
        (since, *queues),
    )
    return found.fetchone() is not None


def ended_among(db: Db, seqs: Sequence[int], known: Mapping[int, Job]) -> list[Job]:
    """Give those of these jobs that have ended; a deleted one as it was last known."""
    found: list[Job] = []
    for at in range(0, len(seqs), 500):
        part = seqs[at : at + 500]
        marks = ", ".join("?" * len(part))
        ended = dict(
            db.execute(f"SELECT seq, finished_at FROM job WHERE seq IN ({marks})", part).fetchall()
        )
        found += [known[seq] for seq in part if seq not in ended]
        for seq, finished_at in ended.items():
            if finished_at is not None:
                found += read(db, "WHERE seq = ?", (seq,))
    return found


def integrity(db: Db) -> str:
    """Say what is wrong with the file and its counts; empty where nothing is."""
    (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        return str(found)
    (counted,) = db.execute("SELECT count(*) FROM job").fetchone()
    (kept,) = db.execute("SELECT coalesce(sum(jobs), 0) FROM tally").fetchone()
    return "" if counted == kept else f"{counted} jobs are there and {kept} are counted"


def ready_queues(db: Db) -> list[str]:
    """Name the queues that have a runnable job and are not paused."""
    rows = db.execute(
        "SELECT name FROM queue WHERE paused = 0 AND EXISTS "
        "(SELECT 1 FROM job WHERE ready = 1 AND job.queue = queue.name) ORDER BY name"
    )
    return [name for (name,) in rows]
