"""The SQL of a job's life: insert, claim, finish, cancel, retry, delete.

Each function works inside the caller's transaction. The states in the guards are those of
`lifecycle.TRANSITIONS`; a test runs every verb from every state and compares.
"""

from __future__ import annotations

import sqlite3
from functools import lru_cache

from queuectl.errors import Conflict
from queuectl.later import Later

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from queuectl.job import Job
    from queuectl.lifecycle import Outcome, Verdict
    from queuectl.storage import graph, limits
else:
    graph, limits = Later("queuectl.storage.graph"), Later("queuectl.storage.limits")

Db = sqlite3.Connection

# Promoting is bounded, so that a hundred thousand jobs due at once do not hold the lock.
PROMOTE_LIMIT = 100

_INSERT = """
INSERT INTO job (name, command, argv, queue, priority, label, state, ready, held, waits,
    max_retries, backoff_base, backoff_max_s, timeout_s, no_retry_on, slots, unique_key, after,
    expires_at, cwd, umask, env, schedule, created_at, updated_at, run_at)
SELECT :name, {command}, :argv, :queue, :priority, :label, 'pending', :ready, :held, :waits,
    :max_retries, :backoff_base, :backoff_max_s, :timeout_s, :no_retry_on, :slots, :unique_key,
    :after, :expires_at, :cwd, :umask, :env, :schedule, :now, :now, :run_at
"""
_INSERT_ONE = _INSERT.format(command=":command")
# Jobs that differ by their command only: five times as many a second as one by one.
_INSERT_ALIKE = _INSERT.format(command="each.value") + "FROM json_each(:commands) AS each"

_PROMOTE = """
UPDATE job SET ready = 1 WHERE seq IN (
    SELECT seq FROM job INDEXED BY job_due
    WHERE ready = 0 AND held = 0 AND waits = 0 AND state IN ('pending', 'failed')
        AND run_at <= ? ORDER BY run_at LIMIT ?)
"""

# Each known queue with the first job in its line: one probe a queue. (Hopping through the index
# from line to line needs a recursive and a materialized part: 118 µs a claim instead of 8.)
HEADS = """
queue JOIN job ON job.seq = (SELECT seq FROM job WHERE ready = 1 AND queue = queue.name
                             ORDER BY priority DESC, run_at, seq LIMIT 1)
"""
# Of those that their queue's limits let start, the highest priority, then first come, first
# served. Nothing overtakes a head that does not fit yet.
_NEXT = f"""
SELECT job.seq FROM {HEADS}
WHERE queue.paused = 0 {{served}}
    AND (queue.concurrency IS NULL OR queue.concurrency >= job.slots +
        (SELECT count(*) FROM slot WHERE slot.queue = queue.name AND slot.job IS NOT NULL))
    AND (queue.rate_starts IS NULL OR queue.rate_starts >
        (SELECT count(*) FROM rate_start
         WHERE rate_start.queue = queue.name AND at > :now - queue.rate_window_ms))
ORDER BY job.priority DESC, job.run_at, job.seq LIMIT 1
"""

_CLAIM = """
UPDATE job SET state = 'processing', ready = 0, run = run + 1, attempts = attempts + 1,
    worker = :worker, started_at = :now, updated_at = :now
WHERE seq = ({next}) AND state IN ('pending', 'failed')
RETURNING {columns}, (SELECT concurrency IS NOT NULL OR rate_starts IS NOT NULL
                      FROM queue WHERE queue.name = job.queue)
"""

_FINISH = """
UPDATE job SET state = :state, ready = 0, attempts = :attempts, run_at = :run_at,
    finished_at = :finished_at, updated_at = :now, worker = NULL, slots_held = NULL,
    stuck = NULL, cancel_asked_at = NULL, duration_s = :duration_s, exit_code = :exit_code,
    signal = :signal, error = :error
WHERE seq = :seq AND run = :run AND state = 'processing'
"""

_GIVE_UP = """
UPDATE job SET state = 'cancelled', finished_at = :now, updated_at = :now, worker = NULL,
    slots_held = NULL, stuck = NULL, cancel_asked_at = NULL, error = :error
WHERE seq = :seq AND run = :run AND state = 'processing'
"""

_RERUN = """
INSERT INTO job (command, argv, queue, priority, label, state, ready, max_retries, backoff_base,
    backoff_max_s, timeout_s, no_retry_on, slots, unique_key, cwd, umask, env, created_at,
    updated_at, run_at)
SELECT command, argv, queue, priority, label, 'pending', 1, max_retries, backoff_base,
    backoff_max_s, timeout_s, no_retry_on, slots, unique_key, cwd, umask, env, :now, :now, :now
FROM job WHERE seq = :seq
"""

_FINISH_RUN = """
UPDATE run SET finished_at = :now, outcome = :kind, duration_s = :duration_s,
    exit_code = :exit_code, signal = :signal, error = :error, cpu_s = :cpu_s,
    max_rss_bytes = :max_rss_bytes, log_start = :log_start, log_end = :log_end,
    left_behind = :left_behind
WHERE job = :seq AND run = :run AND outcome IS NULL
"""


@lru_cache
def columns(record: type) -> str:
    """List the columns that a record is read from, in the order of its fields."""
    return ", ".join(record.__dataclass_fields__)  # type: ignore[attr-defined]


def read(db: Db, tail: str, values: Sequence[object] | Mapping[str, object] = ()) -> list[Job]:
    """Read the jobs that the tail of a SELECT asks for."""
    from queuectl.job import Job  # only here: an enqueue reads no job

    return [Job.of(row) for row in db.execute(f"SELECT {columns(Job)} FROM job {tail}", values)]


def find(db: Db, job_id: str) -> Job | None:
    """Give the job with this id, or None. Digits are ours, anything else its owner's."""
    found = read(db, "WHERE seq = ?", (seq_of(db, job_id),))
    return found[0] if found else None


def seq_of(db: Db, job_id: str) -> int | None:
    """Give the number of the row with this id, or None."""
    where = "name = ?"
    if job_id.isascii() and job_id.isdigit():
        if len(job_id) > 18 or job_id != str(int(job_id)):
            return None
        where = "seq = ? AND name IS NULL"  # a row with a name has a number, but not as its id
    try:
        row = db.execute(f"SELECT seq FROM job WHERE {where}", (job_id,)).fetchone()
    except UnicodeEncodeError:
        return None
    return row[0] if row else None


def insert(db: Db, rows: Iterable[Mapping[str, object]], now: int) -> list[tuple[str, bool]]:
    """Insert jobs; give for each its id, and whether it is new or holds the same unique key.

    Each row brings its `environment`, which is stored once, and the ids of its parents. A row
    with `commands` stands for as many jobs.
    """
    environments: dict[object, int] = {}
    found: list[tuple[str, bool]] = []
    for row in rows:
        data = row["environment"]
        env = environments[data] = environments.get(data) or keep_environment(db, data)  # type: ignore[arg-type]
        if row["slots"] != 1:
            limits.refuse_misfit(db, str(row["queue"]), row["slots"])
        commands: Sequence[str] = row.get("commands", ())  # type: ignore[assignment]
        if commands and row["unique_key"] is None and row["after"] is None:
            found += _insert_alike(db, row, commands, env, now)
        elif commands:
            found += [_insert_one(db, {**row, "command": each}, env, now) for each in commands]
        else:
            found.append(_insert_one(db, row, env, now))
    return found


def _insert_one(db: Db, row: Mapping[str, object], env: int, now: int) -> tuple[str, bool]:
    if row["unique_key"] is not None and (holder := _holder(db, row["unique_key"])):
        return holder, False
    parents = graph.parents(db, row) if row["after"] else ()
    waits = sum(parent.is_open for parent in parents)
    try:
        seq = db.execute(_INSERT_ONE, _values(row, waits, env, now)).lastrowid or 0
    except sqlite3.IntegrityError as error:
        if "job.name" not in str(error):
            raise
        raise Conflict(f"the id {row['name']} is taken", "Nothing was stored") from None
    db.execute("UPDATE environment SET uses = uses + 1 WHERE id = ?", (env,))
    if parents:
        graph.link(db, seq, parents, now)
    return str(row["name"] or seq), True


def _insert_alike(
    db: Db, row: Mapping[str, object], commands: Sequence[str], env: int, now: int
) -> list[tuple[str, bool]]:
    """Insert jobs that differ by their command only, in one statement."""
    import json

    values = {**_values(row, 0, env, now), "commands": json.dumps(commands)}
    last = db.execute(_INSERT_ALIKE, values).lastrowid or 0
    db.execute("UPDATE environment SET uses = uses + ? WHERE id = ?", (len(commands), env))
    # Nobody else inserts meanwhile, so their numbers follow on each other.
    return [(str(seq), True) for seq in range(last - len(commands) + 1, last + 1)]


def _values(row: Mapping[str, object], waits: int, env: int, now: int) -> dict[str, object]:
    ready = not row["held"] and not waits and row["run_at"] <= now  # type: ignore[operator]
    return {**row, "waits": waits, "ready": int(ready), "env": env, "now": now}


def _holder(db: Db, key: object) -> str | None:
    """Give the id of the unfinished job that has this unique key."""
    row = db.execute(
        "SELECT id FROM job WHERE unique_key = ? AND state IN ('pending', 'processing', 'failed')",
        (key,),
    ).fetchone()
    return row[0] if row else None


def keep_environment(db: Db, data: bytes) -> int:
    """Store an environment once and give its number; whoever uses it raises its `uses`."""
    digest = (len(data) << 32) + sum(data)
    row = db.execute(
        "SELECT id FROM environment WHERE digest = ? AND data = ?", (digest, data)
    ).fetchone()
    if row:
        return int(row[0])
    cursor = db.execute(
        "INSERT INTO environment (digest, data, uses) VALUES (?, ?, 0)", (digest, data)
    )
    return cursor.lastrowid or 0


def rerun(db: Db, job: Job, now: int) -> str:
    """Insert a job that is to do the same once more, with nothing of this one's past."""
    if job.unique_key is not None and (holder := _holder(db, job.unique_key)):
        raise Conflict(f"job {holder} is unfinished and has the key {job.unique_key!a}")
    cursor = db.execute(_RERUN, {"seq": job.seq, "now": now})
    db.execute("UPDATE environment SET uses = uses + 1 WHERE id = ?", (job.env,))
    return str(cursor.lastrowid)


def environment(db: Db, env: int | None) -> bytes:
    """Give a stored environment."""
    row = db.execute("SELECT data FROM environment WHERE id = ?", (env,)).fetchone()
    return bytes(row[0]) if row else b""


def claim(db: Db, worker: int, queues: Sequence[str], now: int) -> Job | None:
    """Promote what is due, cancel what has expired, take the first in line for this worker."""
    from queuectl.job import Job

    now = limits.steady(db, now)
    db.execute(_PROMOTE, (now, PROMOTE_LIMIT))
    expire(db, now)
    row = db.execute(
        _claim_sql(len(queues)), {**_names(queues), "worker": worker, "now": now}
    ).fetchone()
    if row is None:
        return None
    job = Job.of(row[:-1])
    db.execute(
        "INSERT INTO run (job, run, attempt, worker, started_at) VALUES (?, ?, ?, ?, ?)",
        (job.seq, job.run, job.attempts, worker, now),
    )
    return limits.take(db, job, now) if row[-1] else job


def expired(db: Db, now: int) -> list[int]:
    """List the jobs that were not started in time."""
    rows = db.execute(
        "SELECT seq FROM job WHERE expires_at <= ? AND state = 'pending' AND run = 0", (now,)
    )
    return [seq for (seq,) in rows.fetchall()]


def expire(db: Db, now: int) -> None:
    """Cancel the jobs that were not started in time."""
    for seq in expired(db, now):
        graph.cancel_waiting(db, seq, "expired before it was started", now)


def outlook(db: Db, queues: Sequence[str], now: int) -> int | None:
    """Give `now` where a claim would find a job, else when the next one is due, else None."""
    if db.execute(_next_sql(len(queues)), {**_names(queues), "now": now}).fetchone():
        return now
    row = db.execute(
        "SELECT run_at FROM job INDEXED BY job_due WHERE ready = 0 AND held = 0 AND waits = 0 "
        "AND state IN ('pending', 'failed') ORDER BY run_at LIMIT 1"
    ).fetchone()
    due = [row[0]] if row else []
    return min(due + limits.openings(db), default=None)


def _names(queues: Sequence[str]) -> dict[str, object]:
    return {f"queue{i}": name for i, name in enumerate(queues)}


@lru_cache
def _next_sql(count: int) -> str:
    """Build the query for the next job of so many queues (0: of any)."""
    named = ", ".join(f":queue{i}" for i in range(count))
    return _NEXT.format(served=f"AND queue.name IN ({named})" if count else "")


@lru_cache
def _claim_sql(count: int) -> str:
    """Build the claim, once: a worker does it for every job."""
    from queuectl.job import Job

    return _CLAIM.format(next=_next_sql(count), columns=columns(Job))


def finish(
    db: Db, job: Job, outcome: Outcome, verdict: Verdict, now: int
) -> tuple[bool, list[str]]:
    """End a run, if that run is still the one that is going on.

    Says whether it was, and in which queues something may run now because of it.
    """
    from queuectl.lifecycle import ENDED

    values = {
        **vars(outcome),
        "kind": str(outcome.kind),
        "state": str(verdict.state),
        "attempts": verdict.attempts,
        "run_at": verdict.run_at,
        "finished_at": now if verdict.state in ENDED else None,
        "now": now,
        "seq": job.seq,
        "run": job.run,
    }
    if not db.execute(_FINISH, values).rowcount:
        return False, []
    db.execute(_FINISH_RUN, values)
    opened = limits.give_back(db, job)
    if verdict.state in ENDED:
        opened += graph.settle(db, job.seq, str(verdict.state), now)
    elif verdict.run_at <= now:
        db.execute("UPDATE job SET ready = 1 WHERE seq = ? AND held = 0", (job.seq,))
    return True, opened


def cancel(db: Db, job: Job, now: int) -> bool:
    """Cancel a waiting job at once; mark a running one, for its worker to end."""
    if graph.cancel_waiting(db, job.seq, None, now):
        return True
    asked = db.execute(
        "UPDATE job SET cancel_asked_at = coalesce(cancel_asked_at, ?) "
        "WHERE seq = ? AND state = 'processing'",
        (now, job.seq),
    ).rowcount
    return bool(asked)


def hold(db: Db, job: Job, now: int) -> bool:
    """Keep a waiting job from being started."""
    return bool(
        db.execute(
            "UPDATE job SET held = 1, ready = 0, updated_at = ? "
            "WHERE seq = ? AND state IN ('pending', 'failed') AND held = 0",
            (now, job.seq),
        ).rowcount
    )


def release(db: Db, job: Job, now: int, *, at_once: bool) -> bool:
    """Lift a hold; `at_once` also drops a delay or a backoff. It queues up behind the others."""
    return bool(
        db.execute(
            "UPDATE job SET held = 0, updated_at = :now, "
            "run_at = iif(:at_once, :now, max(run_at, :now)), "
            "ready = (waits = 0 AND (:at_once OR run_at <= :now)) "
            "WHERE seq = :seq AND state IN ('pending', 'failed') "
            "AND (held = 1 OR (:at_once AND run_at > :now))",
            {"seq": job.seq, "now": now, "at_once": at_once},
        ).rowcount
    )


def edit(db: Db, job: Job, changes: Mapping[str, object], now: int) -> bool:
    """Change the priority, queue or label of a waiting job."""
    limits.refuse_misfit(db, str(changes.get("queue", job.queue)), job.slots)
    fields = ", ".join(f"{key} = :{key}" for key in changes)
    return bool(
        db.execute(
            f"UPDATE job SET {fields}, updated_at = :now "
            "WHERE seq = :seq AND state IN ('pending', 'failed')",
            {**changes, "seq": job.seq, "now": now},
        ).rowcount
    )


def give_up(db: Db, job: Job, what: str, now: int) -> bool:
    """Cancel a job whose processes cannot be ended, although they may still run."""
    values = {"seq": job.seq, "run": job.run, "now": now, "error": what}
    happened = db.execute(_GIVE_UP, values).rowcount
    if happened:
        db.execute(
            "UPDATE run SET finished_at = :now, outcome = 'cancelled', error = :error "
            "WHERE job = :seq AND run = :run AND outcome IS NULL",
            values,
        )
        limits.give_back(db, job)
        graph.settle(db, job.seq, "cancelled", now)
    return bool(happened)


def retry(db: Db, job: Job, now: int) -> bool:
    """Put a dead job back in line; its runs stay, its attempts begin again."""
    try:
        return bool(
            db.execute(
                "UPDATE job SET state = 'pending', ready = 1, attempts = 0, run_at = ?, "
                "finished_at = NULL, updated_at = ? WHERE seq = ? AND state = 'dead'",
                (now, now, job.seq),
            ).rowcount
        )
    except sqlite3.IntegrityError:
        raise Conflict(f"another unfinished job has the key {job.unique_key!a}") from None


def delete(db: Db, job: Job, states: Sequence[str]) -> bool:
    """Delete a job that has ended in one of these states; its runs go with it."""
    marks = ", ".join("?" * len(states))
    return bool(
        db.execute(
            f"DELETE FROM job WHERE seq = ? AND finished_at IS NOT NULL AND state IN ({marks})",
            (job.seq, *states),
        ).rowcount
    )


def owe_hook(db: Db, job: Job) -> None:
    """Note that the hooks of an ended job are to be run."""
    db.execute("INSERT INTO hook_due (job) VALUES (?) ON CONFLICT DO NOTHING", (job.seq,))


def pay_hook(db: Db) -> Job | None:
    """Take over the oldest debt; None where there is none (a pruned job's is forgotten)."""
    rows = db.execute(
        "DELETE FROM hook_due WHERE job = (SELECT min(job) FROM hook_due) RETURNING job"
    ).fetchall()
    found = [job for (seq,) in rows for job in read(db, "WHERE seq = ?", (seq,))]
    return found[0] if found else None


def mark_stuck(db: Db, job: Job, what: str | None) -> None:
    """Note what cannot be ended of a run that was lost."""
    db.execute(
        "UPDATE job SET stuck = ? WHERE seq = ? AND run = ? AND state = 'processing' "
        "AND stuck IS NOT ?",
        (what, job.seq, job.run, what),
    )
