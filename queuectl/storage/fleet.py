"""The SQL of who works: supervisors and workers register here, and read their orders here."""

from __future__ import annotations

from queuectl.storage.jobs import columns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from queuectl.job import Job, PoolRecord, WorkerRecord
    from queuectl.storage.jobs import Db


def enlist_pool(db: Db, record: Mapping[str, object]) -> PoolRecord:
    """Insert a supervisor."""
    from queuectl.job import PoolRecord

    row = db.execute(
        "INSERT INTO pool (pid, birth, lock, lock_dev, lock_ino, background, queues, started_at) "
        "VALUES (:pid, :birth, :lock, :lock_dev, :lock_ino, :background, :queues, :now) "
        f"RETURNING {columns(PoolRecord)}",
        record,
    ).fetchone()
    return PoolRecord(*row)


def enlist_worker(db: Db, record: Mapping[str, object]) -> WorkerRecord:
    """Insert a worker; one whose pool has been told to stop meanwhile inherits that order."""
    from queuectl.job import WorkerRecord

    row = db.execute(
        "INSERT INTO worker (pool, pid, birth, lock, lock_dev, lock_ino, exec_dev, exec_ino, "
        "queues, started_at, stop, stop_by) "
        "SELECT :pool, :pid, :birth, :lock, :lock_dev, :lock_ino, :exec_dev, :exec_ino, "
        "queues, :now, stop, stop_by FROM pool WHERE id = :pool "
        f"RETURNING {columns(WorkerRecord)}",
        record,
    ).fetchone()
    return WorkerRecord(*row)


def discharge_worker(db: Db, worker_id: int) -> None:
    """Delete a worker, unless a job is still recorded as its own."""
    db.execute(
        "DELETE FROM worker WHERE id = ? AND NOT EXISTS (SELECT 1 FROM job "
        "WHERE job.worker = worker.id AND job.state = 'processing')",
        (worker_id,),
    )


def discharge_pool(db: Db, pool_id: int) -> None:
    """Delete a supervisor, unless workers are still recorded as its own."""
    db.execute(
        "DELETE FROM pool WHERE id = ? AND NOT EXISTS "
        "(SELECT 1 FROM worker WHERE worker.pool = pool.id)",
        (pool_id,),
    )


def order_stop(db: Db, level: int, stop_by: int | None) -> None:
    """Raise the stop level of everybody; it never sinks, and a deadline only comes nearer."""
    for table in ("pool", "worker"):
        db.execute(
            f"UPDATE {table} SET stop = max(stop, ?), "
            "stop_by = coalesce(min(stop_by, ?), stop_by, ?)",
            (level, stop_by, stop_by),
        )


def stop_workers(db: Db, ids: Sequence[int]) -> None:
    """Raise the stop level of single workers to 1."""
    db.executemany("UPDATE worker SET stop = max(stop, 1) WHERE id = ?", [(each,) for each in ids])


def orders(db: Db, worker_id: int, job: Job | None) -> tuple[int, int | None, str]:
    """Read a worker's orders: stop level, its deadline, and run, cancel or abandon its job.

    One that nobody has registered any more is to stop.
    """
    row = db.execute("SELECT stop, stop_by FROM worker WHERE id = ?", (worker_id,)).fetchone()
    stop, stop_by = row or (1, None)
    if job is None:
        return stop, stop_by, "run"
    asked = db.execute(
        "SELECT iif(cancel_asked_at IS NULL, 'run', 'cancel') FROM job "
        "WHERE seq = ? AND run = ? AND state = 'processing'",
        (job.seq, job.run),
    ).fetchone()
    return stop, stop_by, asked[0] if asked else "abandon"


def pools(db: Db) -> list[PoolRecord]:
    """List the supervisors, oldest first."""
    from queuectl.job import PoolRecord

    return [
        PoolRecord(*row)
        for row in db.execute(f"SELECT {columns(PoolRecord)} FROM pool ORDER BY id")
    ]


def workers(db: Db, pool: int | None) -> list[WorkerRecord]:
    """List the workers (of one pool), oldest first."""
    from queuectl.job import WorkerRecord

    rows = db.execute(
        f"SELECT {columns(WorkerRecord)} FROM worker WHERE ?1 IS NULL OR pool = ?1 ORDER BY id",
        (pool,),
    )
    return [WorkerRecord(*row) for row in rows]
