"""Import the `jobs` table that early tools of this name wrote, with a copy of the file beside it.

What becomes of a row:
- an id that we could give or take stays (`42`, `nightly`, a UUID). Any other becomes `early-` and
  what is left of it without the characters that ids do not have; the old one is its label;
- `processing` becomes pending: its worker is gone. A state that we do not know, or a command that
  cannot run, becomes dead, with the reason: `dlq retry` if that was wrong;
- times that cannot be read are the moment of the import. No run of it is known;
- it will run in the directory of the database, with the environment of whoever opened it first:
  early tools stored neither.
"""

from __future__ import annotations

import os
import re
import sqlite3
import time

from queuectl import config
from queuectl.spec import now_ms
from queuectl.storage.jobs import keep_environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from queuectl.place import Place

COLUMNS = ("id", "command", "state", "attempts", "max_retries", "created_at", "updated_at")
STATES = ("pending", "processing", "completed", "failed", "dead", "cancelled")
MAX_NUMBER = 1_000_000_000  # a larger number as an id would push our own counter out of sight
_NAME = re.compile(r"(?=.*[^0-9])[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

_INSERT = """
INSERT INTO job (seq, name, command, queue, priority, label, state, ready, attempts, run,
    max_retries, backoff_base, backoff_max_s, cwd, umask, env, created_at, updated_at, run_at,
    started_at, finished_at, error)
VALUES (:seq, :name, :command, 'default', 0, :label, :state, :ready, :attempts, :attempts,
    :max_retries, :backoff_base, :backoff_max_s, :cwd, :umask, :env, :created_at, :updated_at,
    :created_at, :started_at, :finished_at, :error)
"""


def is_early(db: sqlite3.Connection) -> bool:
    """Say whether all that the file holds is an early tool's table of jobs."""
    foreign = db.execute(
        "SELECT 1 FROM sqlite_master WHERE tbl_name <> 'jobs' AND name NOT LIKE 'sqlite\\_%' "
        "ESCAPE '\\' OR type NOT IN ('table', 'index')"
    ).fetchone()
    found = [name for (name,) in db.execute("SELECT name FROM pragma_table_info('jobs')")]
    return foreign is None and sorted(found) == sorted(COLUMNS)


def keep_copy(db: sqlite3.Connection, place: Place) -> None:
    """Copy the file, whole and synced, to PATH.early-TIME beside it; the caller has the lock."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    path, number = f"{place.db}.early-{stamp}", 1
    while os.path.lexists(path):
        number += 1
        path = f"{place.db}.early-{stamp}.{number}"
    draft = f"{place.db}.early-draft"  # what a copy that was killed has left
    if os.path.lexists(draft):
        os.unlink(draft)
    os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    copy = sqlite3.connect(draft, isolation_level=None)
    try:
        db.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, whatever the early one was
    finally:
        copy.close()
    os.rename(draft, path)


def take(db: sqlite3.Connection) -> list[tuple[object, ...]]:
    """Take the early table out of the file, inside the caller's transaction; give its rows."""
    wanted = ", ".join(f"CAST({c} AS BLOB)" if c in ("id", "command") else c for c in COLUMNS)
    rows = db.execute(f"SELECT {wanted} FROM jobs").fetchall()
    db.execute("DROP TABLE jobs")
    return rows


def put(db: sqlite3.Connection, place: Place, rows: list[tuple[object, ...]]) -> None:
    """Store an early tool's rows as jobs, inside the caller's transaction."""
    if not rows:
        return
    now = now_ms()
    env = keep_environment(db, config.captured_environment("all", {}))
    db.execute("UPDATE environment SET uses = uses + ? WHERE id = ?", (len(rows), env))
    umask = os.umask(0o077)
    os.umask(umask)
    shared = {
        "backoff_base": config.resolve("backoff-base", {})[0],
        "backoff_max_s": config.resolve("backoff-max", {})[0],
        "cwd": os.fsencode(os.path.dirname(place.db)),
        "umask": umask,
        "env": env,
    }
    ids: set[str] = set()
    found = [_job(row, ids, now) for row in rows]
    # The numbers first: those that we give to the others must not be theirs.
    for job in sorted(found, key=lambda job: (job["seq"] is None, job["created_at"])):
        db.execute(_INSERT, {**job, **shared})


def _job(row: tuple[object, ...], ids: set[str], now: int) -> dict[str, object]:
    raw_id, raw_command, was, attempts, max_retries, created_at, updated_at = row
    command, why = _command(_text(raw_command))
    if why is None and was not in STATES:
        why = f"imported with the unknown state {was!a:.60}"
    state = "dead" if why else "pending" if was == "processing" else str(was)
    updated = _instant(updated_at, now)
    ended = state in ("completed", "dead", "cancelled")
    return {
        **_identity(_text(raw_id), ids),
        "command": command,
        "state": state,
        "ready": int(not ended),
        "attempts": _count(attempts, 0),
        "max_retries": _count(max_retries, 3),
        "created_at": _instant(created_at, now),
        "updated_at": updated,
        "started_at": None if state in ("pending", "cancelled") else updated,
        "finished_at": updated if ended else None,
        "error": why,
    }


def _identity(old: str, ids: set[str]) -> dict[str, object]:
    """Keep an id that is one for us; make one of any other, and keep the old one as the label."""
    if old.isascii() and old.isdigit() and old == str(int(old[:18])):
        number = int(old)
        if 0 < number <= MAX_NUMBER and old not in ids:
            ids.add(old)
            return {"seq": number, "name": None, "label": None}
    if _NAME.fullmatch(old) and old not in ids:
        ids.add(old)
        return {"seq": None, "name": old, "label": None}
    stem = "early-" + re.sub(r"[^A-Za-z0-9._-]+", "-", old)[:48].strip("-")
    new, count = stem, 1
    while new in ids:
        count += 1
        new = f"{stem}-{count}"
    ids.add(new)
    return {"seq": None, "name": new, "label": old[:200] or None}


def _command(text: str) -> tuple[str, str | None]:
    """Give the command, and why it cannot run if it cannot."""
    if not text.strip():
        return text or "(none)", "imported without a command"
    if "\0" in text:
        return text.replace("\0", "\\0"), "imported with a command that has a NUL byte"
    return text, None


def _text(raw: object) -> str:
    return raw.decode("utf-8", "backslashreplace") if isinstance(raw, bytes) else ""


def _count(value: object, default: int) -> int:
    if isinstance(value, str) and re.fullmatch("[0-9]{1,9}", value):
        value = int(value)
    return min(max(value, 0), MAX_NUMBER) if isinstance(value, int) else default


def _instant(value: object, now: int) -> int:
    """Read seconds or milliseconds since 1970, or ISO 8601 (without an offset: UTC); give ms."""
    from datetime import UTC, datetime

    try:
        if isinstance(value, str) and not re.fullmatch(r"[0-9]+(\.[0-9]*)?", value):
            moment = datetime.fromisoformat(value.strip())
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            value = moment.timestamp()
        found = round(float(value) * (1 if float(value) > 1e11 else 1000))  # type: ignore[arg-type]
    except (ValueError, TypeError, OverflowError):
        return now
    return min(max(found, 0), now)
