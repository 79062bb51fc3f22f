"""The SQL that only looks: lists, counts, histories."""

from __future__ import annotations

from queuectl.storage.jobs import columns, read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from queuectl.job import Job, Run
    from queuectl.storage.jobs import Db

# What a list may be narrowed by. `since`: touched at or after this instant (ms).
FILTERS = {
    "state": "state = :state",
    "queue": "queue = :queue",
    "label": "label = :label",
    "since": "updated_at >= :since",
}

# Each part is walked in its index's own order, so that a limit stops it early.
_PARTS = (
    "state = 'processing' ORDER BY started_at, seq",
    "ready = 1 ORDER BY priority DESC, run_at, seq",
    "ready = 0 AND state IN ('pending', 'failed') ORDER BY run_at, seq",
    "finished_at IS NOT NULL ORDER BY finished_at DESC, seq DESC",
)


def select(db: Db, filters: Mapping[str, object], limit: int | None) -> list[Job]:
    """List jobs: what is processing, then what runs next, then what ended last."""
    wanted = [FILTERS[key] for key, value in filters.items() if value is not None]
    found: list[Job] = []
    for part in _PARTS:
        left = -1 if limit is None else limit - len(found)
        if left:
            tail = f"WHERE {' AND '.join([*wanted, part])} LIMIT :left"
            found += read(db, tail, {**filters, "left": left})
    return found


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
    marks = ", ".join(f"'{state}'" for state in states)
    tail = (
        f"WHERE finished_at IS NOT NULL AND state IN ({marks}) "
        "AND (?1 IS NULL OR finished_at < ?1) AND (?2 IS NULL OR queue = ?2) "
        "ORDER BY finished_at LIMIT ?3"
    )
    return read(db, tail, (before, queue, limit))


def count_ended(db: Db, states: Sequence[str], before: int | None) -> int:
    """Count the jobs that ended in one of these states before an instant."""
    marks = ", ".join(f"'{state}'" for state in states)
    row = db.execute(
        f"SELECT count(*) FROM job WHERE finished_at IS NOT NULL AND state IN ({marks}) "
        "AND (?1 IS NULL OR finished_at < ?1)",
        (before,),
    ).fetchone()
    return int(row[0])


def last_started(db: Db) -> Job | None:
    """Give the job that was started last."""
    tail = "WHERE started_at IS NOT NULL ORDER BY started_at DESC, seq DESC LIMIT 1"
    return next(iter(read(db, tail)), None)


def tally(db: Db) -> dict[str, int]:
    """Count the jobs in each state; the counts are kept by triggers."""
    return dict(db.execute("SELECT state, sum(jobs) FROM tally GROUP BY state"))


def oldest_ready(db: Db) -> int | None:
    """Give the instant since which the longest-waiting runnable job waits."""
    row = db.execute("SELECT min(run_at) FROM job WHERE ready = 1").fetchone()
    return row[0] if row else None


def paused_queues(db: Db) -> set[str]:
    """Name the queues that are paused."""
    return {row[0] for row in db.execute("SELECT name FROM queue WHERE paused = 1")}


def is_quiet(db: Db, queues: Sequence[str], now: int) -> bool:
    """Say whether nothing is processing, runnable or backing off in these queues (none: all)."""
    marks = ", ".join("?" * len(queues))
    of_these = f"AND queue IN ({marks})" if queues else ""
    for condition in (
        "state = 'processing'",
        "ready = 1 AND NOT EXISTS (SELECT 1 FROM queue WHERE name = job.queue AND paused = 1)",
        "ready = 0 AND held = 0 AND waits = 0 AND state IN ('pending', 'failed') "
        "AND (state = 'failed' OR run_at <= ?)",
    ):
        values = [now] if "?" in condition else []
        found = db.execute(
            f"SELECT 1 FROM job WHERE {condition} {of_these} LIMIT 1", (*values, *queues)
        )
        if found.fetchone():
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


def unfinished(db: Db, queue: str | None) -> list[Job]:
    """List every job (of a queue) that has not ended, in the order of enqueueing."""
    tail = (
        "WHERE state IN ('pending', 'processing', 'failed') AND (?1 IS NULL OR queue = ?1) "
        "ORDER BY seq"
    )
    return read(db, tail, (queue,))
