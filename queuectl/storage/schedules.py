"""The SQL of schedules: each tick moves its schedule on and inserts its job in one transaction.

The move is guarded by the instant that was next: of several pools that fire a tick, one does.
"""

from __future__ import annotations

import json

from queuectl.errors import Conflict, NotFound, UsageError
from queuectl.storage import jobs, limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from queuectl.job import Schedule
    from queuectl.storage.jobs import Db
    from queuectl.storage.sqlite import Connection

_INSERT = """
INSERT INTO schedule (name, cron, every_s, tz, overlap, catchup, paused, template, cwd, umask,
    env, created_at, next_at)
VALUES (:name, :cron, :every_s, :tz, :overlap, :catchup, :paused, :template, :cwd, :umask,
    :env, :now, :next_at)
"""

_MOVE_ON = """
UPDATE schedule SET next_at = :next_at
WHERE name = :name AND created_at = :created_at AND next_at = :due AND paused = 0
"""


def read(db: Db, tail: str, values: Sequence[object] = ()) -> list[Schedule]:
    """Read the schedules that the tail of a SELECT asks for."""
    from queuectl.job import Schedule

    rows = db.execute(f"SELECT {jobs.columns(Schedule)} FROM schedule {tail}", values)
    return [Schedule(*row) for row in rows]


def known(db: Db, name: str) -> Schedule:
    """Give a schedule; raises NotFound."""
    found = read(db, "WHERE name = ?", (name,))
    if not found:
        shown = ascii(name)[1:-1][:80]
        raise NotFound(f"there is no schedule {shown}", "To see them: queuectl schedule list")
    return found[0]


def add(db: Db, row: Mapping[str, object], *, replace: bool) -> Schedule:
    """Insert a schedule; one that it replaces stays paused if it was."""
    name = str(row["name"])
    old = read(db, "WHERE name = ?", (name,))
    if old and not replace:
        raise Conflict(f"there is a schedule {name} already", "To change it: --replace")
    limits.refuse_misfit(db, str(row["queue"]), row["slots"])
    env = jobs.keep_environment(db, row["environment"])  # type: ignore[arg-type]
    db.execute("UPDATE environment SET uses = uses + 1 WHERE id = ?", (env,))
    db.execute("DELETE FROM schedule WHERE name = ?", (name,))
    db.execute(_INSERT, {**row, "env": env, "paused": old[0].paused if old else 0})
    return known(db, name)


def remove(db: Db, name: str) -> None:
    """Delete a schedule; raises NotFound. Jobs that it has put in line stay there."""
    known(db, name)
    db.execute("DELETE FROM schedule WHERE name = ?", (name,))


def pause(db: Db, name: str) -> bool:
    """Fire no more; False where it is paused already. Raises NotFound."""
    known(db, name)
    changed = db.execute("UPDATE schedule SET paused = 1 WHERE name = ? AND paused = 0", (name,))
    return bool(changed.rowcount)


def resume(db: Db, name: str, next_at: int | None) -> bool:
    """Fire again, from an instant on; False where it was not paused. Raises NotFound."""
    known(db, name)
    changed = db.execute(
        "UPDATE schedule SET paused = 0, next_at = ? WHERE name = ? AND paused = 1",
        (next_at, name),
    )
    return bool(changed.rowcount)


def due(db: Db, now: int) -> list[Schedule]:
    """List the schedules whose next instant has come, the longest due first."""
    tail = "WHERE paused = 0 AND next_at IS NOT NULL AND next_at <= ? ORDER BY next_at"
    return read(db, tail, (now,))


def next_tick(db: Db, now: int) -> int | None:
    """Give the first instant after now at which a schedule fires."""
    row = db.execute(
        "SELECT min(next_at) FROM schedule "
        "WHERE paused = 0 AND next_at IS NOT NULL AND next_at > ?",
        (now,),
    ).fetchone()
    return row[0] if row else None


def fire(
    db: Db, schedule: Schedule, tick: int | None, next_at: int | None, now: int
) -> tuple[str | None, str]:
    """Move a due schedule on and, for a tick, insert its job.

    Gives the queue of the job, else why there is none (nothing where another pool was faster).
    """
    seen = {"name": schedule.name, "created_at": schedule.created_at, "due": schedule.next_at}
    if not db.execute(_MOVE_ON, {**seen, "next_at": next_at}).rowcount:
        return None, ""
    if tick is None:
        return None, "nobody was there at the time"
    if schedule.overlap == "skip" and _is_unfinished(db, schedule.name):
        return None, "its last job is unfinished"
    try:
        job_id, fresh = insert_job(db, schedule, now)
    except UsageError as error:
        return None, str(error)
    if not fresh:
        return None, f"job {job_id} is unfinished and has its key"
    db.execute("UPDATE schedule SET last_at = ? WHERE name = ?", (tick, schedule.name))
    return str(json.loads(schedule.template)["queue"]), ""


def insert_job(db: Db, schedule: Schedule, now: int) -> tuple[str, bool]:
    """Insert a job as the template says; give what an enqueue gives."""
    template = json.loads(schedule.template)
    expires_ms = template.pop("expires_ms")
    row = {
        **template,
        "name": None,
        "cwd": schedule.cwd,
        "umask": schedule.umask,
        "environment": jobs.environment(db, schedule.env),
        "schedule": schedule.name,
        "run_at": now,
        "expires_at": None if expires_ms is None else now + expires_ms,
    }
    return jobs.insert(db, [row], now)[0]


def _is_unfinished(db: Db, name: str) -> bool:
    row = db.execute(
        "SELECT 1 FROM job WHERE schedule = ? AND finished_at IS NULL LIMIT 1", (name,)
    ).fetchone()
    return row is not None


class Schedules:
    """The part of Storage that keeps schedules: a transaction a verb."""

    def __init__(self, connection: Connection) -> None:
        self._at = connection

    def add(self, row: Mapping[str, object], *, replace: bool) -> Schedule:
        """Store a schedule. Raises Conflict where its name is taken and not to be replaced."""
        with self._at.write() as db:
            return add(db, row, replace=replace)

    def remove(self, name: str) -> None:
        """Delete a schedule; raises NotFound."""
        with self._at.write() as db:
            remove(db, name)

    def pause(self, name: str) -> bool:
        """Fire no more; False where it is paused already. Raises NotFound."""
        with self._at.write() as db:
            return pause(db, name)

    def resume(self, name: str, next_at: int | None) -> bool:
        """Fire again, from an instant on; False where it was not paused. Raises NotFound."""
        with self._at.write() as db:
            return resume(db, name, next_at)

    def run(self, name: str, now: int) -> tuple[str, bool]:
        """Insert a job of a schedule now; give what an enqueue gives. Raises NotFound."""
        with self._at.write() as db:
            return insert_job(db, known(db, name), now)

    def fire(
        self, schedule: Schedule, tick: int | None, next_at: int | None, now: int
    ) -> tuple[str | None, str]:
        """Move a due schedule on and insert the job of a tick, if nobody else has.

        Gives the queue of the job, else why there is none (nothing where another was faster).
        """
        with self._at.write() as db:
            return fire(db, schedule, tick, next_at, now)

    def due(self, now: int) -> list[Schedule]:
        """List the schedules whose next instant has come."""
        with self._at.read() as db:
            return due(db, now)

    def next_tick(self, now: int) -> int | None:
        """Give the first instant after now at which a schedule fires."""
        with self._at.read() as db:
            return next_tick(db, now)

    def all(self) -> list[Schedule]:
        """List the schedules by name."""
        with self._at.read() as db:
            return read(db, "ORDER BY name")

    def one(self, name: str) -> Schedule:
        """Give one schedule; raises NotFound."""
        with self._at.read() as db:
            return known(db, name)
