"""The SQL of dependencies, and of what follows from a job's end.

An edge is there while its parent is unfinished; a job counts its edges in `waits` and is not
ready before there are none. Nothing polls, and nothing recurses: a chain of ten thousand ends in
one loop.
"""

from __future__ import annotations

from queuectl.errors import NotFound, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

    Db = sqlite3.Connection


_OWE_HOOK = """
INSERT INTO hook_due (job) SELECT ?
WHERE EXISTS (SELECT 1 FROM config WHERE key IN ('on-finish', 'on-dead')) ON CONFLICT DO NOTHING
"""


class Parent:
    """A job that another is to wait for."""

    __slots__ = ("id", "needs", "seq", "state")

    def __init__(self, seq: int, job_id: str, state: str, needs: str) -> None:
        self.seq, self.id, self.state, self.needs = seq, job_id, state, needs

    @property
    def is_open(self) -> bool:
        """Whether it is still to end."""
        return self.state in ("pending", "processing", "failed")

    @property
    def forbids(self) -> bool:
        """Whether it has ended in a way that the child must not follow."""
        return self.needs == "completed" and self.state in ("dead", "cancelled")


def parents(db: Db, row: Mapping[str, object]) -> list[Parent]:
    """Look up the parents that a new row names; raises NotFound and UsageError."""
    found = []
    for needs in ("completed", "finished"):
        for job_id in row.get(f"after_{needs}") or ():  # type: ignore[attr-defined]
            found.append(_parent(db, str(job_id), needs, row["name"]))
    return found


def _parent(db: Db, job_id: str, needs: str, child: object) -> Parent:
    if job_id == child:
        raise UsageError(f"job {job_id} cannot wait for itself")
    column = "seq" if job_id.isdigit() else "name"
    row = db.execute(f"SELECT seq, id, state FROM job WHERE {column} = ?", (job_id,)).fetchone()
    if row is None or row[1] != job_id:
        raise NotFound(f"there is no job {job_id!a} to wait for", "Nothing was stored")
    return Parent(row[0], row[1], row[2], needs)


def link(db: Db, child: int, found: Sequence[Parent], now: int) -> None:
    """Tie a new job to its parents; one that has ended badly already cancels it at once."""
    for parent in found:
        if parent.is_open or parent.forbids:
            needs = "broken" if parent.forbids else parent.needs
            db.execute(
                "INSERT INTO dependency VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET "
                "needs = iif(needs = 'finished', excluded.needs, needs)",
                (parent.seq, child, needs),
            )
    bad = next((parent for parent in found if parent.forbids), None)
    if bad:
        cancel_waiting(db, child, _reason(bad.id, bad.state), now)
    # A job named twice is one edge.
    db.execute(
        "UPDATE job SET waits = (SELECT count(*) FROM dependency WHERE child = seq "
        "AND needs <> 'broken') WHERE seq = ? AND state = 'pending'",
        (child,),
    )


def cancel_waiting(db: Db, seq: int, reason: str | None, now: int) -> bool:
    """Cancel a job that waits, and what waits for it; say whether it did wait."""
    if not _cancel_one(db, seq, reason, now):
        return False
    settle(db, seq, "cancelled", now)
    return True


def settle(db: Db, seq: int, state: str, now: int) -> list[str]:
    """Let the end of a job take effect on those that wait for it, all the way down.

    Gives the queues in which a job has become ready, one entry for each.
    """
    opened: list[str] = []
    ended = [(seq, state)]
    while ended:
        parent, how = ended.pop()
        db.execute(_OWE_HOOK, (parent,))
        for child, needs in db.execute(
            "SELECT child, needs FROM dependency WHERE parent = ? AND needs <> 'broken'", (parent,)
        ).fetchall():
            if needs == "completed" and how != "completed":
                if _break(db, parent, child, how, now):
                    ended.append((child, "cancelled"))
            else:
                opened += _loosen(db, parent, child, now)
    return opened


def cancelled_children(db: Db, seq: int) -> list[str]:
    """Name the jobs that were cancelled because this one ended badly, all the way down."""
    rows = db.execute(
        "WITH RECURSIVE fallen (seq) AS (SELECT child FROM dependency "
        "WHERE parent = ? AND needs = 'broken' UNION SELECT child FROM fallen "
        "JOIN dependency ON parent = fallen.seq AND needs = 'broken') "
        "SELECT id FROM fallen JOIN job USING (seq) WHERE state = 'cancelled'",
        (seq,),
    )
    return [job_id for (job_id,) in rows]


def _break(db: Db, parent: int, child: int, how: str, now: int) -> bool:
    (name,) = db.execute("SELECT id FROM job WHERE seq = ?", (parent,)).fetchone()
    cancelled = _cancel_one(db, child, _reason(name, how), now)
    if cancelled:
        db.execute(
            "INSERT INTO dependency VALUES (?, ?, 'broken') "
            "ON CONFLICT DO UPDATE SET needs = 'broken'",
            (parent, child),
        )
    return cancelled


def _loosen(db: Db, parent: int, child: int, now: int) -> list[str]:
    """Take one edge away; a job that waits for nothing more is runnable from now on."""
    db.execute("DELETE FROM dependency WHERE parent = ? AND child = ?", (parent, child))
    rows = db.execute(
        "UPDATE job SET waits = waits - 1, run_at = max(run_at, :now), "
        "ready = (waits = 1 AND held = 0 AND run_at <= :now) "
        "WHERE seq = :child AND waits > 0 RETURNING queue, ready",
        {"child": child, "now": now},
    ).fetchall()
    return [queue for queue, ready in rows if ready]


def _cancel_one(db: Db, seq: int, reason: str | None, now: int) -> bool:
    done = db.execute(
        "UPDATE job SET state = 'cancelled', ready = 0, held = 0, waits = 0, finished_at = :now, "
        "updated_at = :now, error = coalesce(:reason, error) "
        "WHERE seq = :seq AND state IN ('pending', 'failed')",
        {"seq": seq, "now": now, "reason": reason},
    ).rowcount
    if done:
        db.execute("DELETE FROM dependency WHERE child = ? AND needs <> 'broken'", (seq,))
    return bool(done)


def _reason(parent: str, state: str) -> str:
    return f"job {parent}, which it waits for, ended {state}"
