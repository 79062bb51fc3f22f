"""The SQL of lists: which jobs, in which order, without looking at many more than are shown.

A list has four parts: what is processing, what runs next, what waits for a time, a person or
other jobs, what has ended. Each is a walk along an index in the order of the list, which a limit
stops early. A walk gives keys only, so that what is filtered out can be told by its index entry
alone; whole jobs are read at the end, by their numbers.
"""

from __future__ import annotations

from queuectl.lifecycle import ENDED, WAITING
from queuectl.storage.jobs import HEADS, read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from queuectl.job import Job
    from queuectl.storage.jobs import Db

    # What sorts a job within its part (the last of the three is its number, negative where the
    # latest comes first), and its id.
    Key = tuple[int, int, int, str]
    Given = Mapping[str, object]

# What a list may be narrowed by. `since`: touched at or after this instant (ms).
FILTERS = {
    "queue": "queue = :queue",
    "label": "+label = :label",  # not by its index: a walk keeps to the order
    "since": "updated_at >= :since",
}
# An ended job is not touched any more: its end can be looked up.
_ENDED_SINCE = "finished_at >= :since"

PROCESSING = "state = 'processing'"
READY = "ready = 1"
# The conditions of the indexes, word for word.
DUE = "ready = 0 AND held = 0 AND waits = 0 AND state IN ('pending', 'failed')"
KEPT = "ready = 0 AND (held = 1 OR waits > 0) AND state IN ('pending', 'failed')"

# The queues whose first job in line is among the first in all lines: no other has one.
_FOREMOST = f"""
SELECT queue.name FROM {HEADS} ORDER BY job.priority DESC, job.run_at, job.seq LIMIT ?
"""

# Each order, as the key that a row is sorted by.
_IN_LINE = ("-priority, run_at, seq", "priority DESC, run_at, seq")
_BY_TIME = ("0, run_at, seq", "run_at, seq")
_BY_START = ("0, started_at, seq", "started_at, seq")
_LATEST = ("0, -finished_at, -seq", "finished_at DESC, seq DESC")

# The jobs of a rare label, all of them, in the order of the list.
FEW = 40_000  # of more, the walks find the first ones sooner
_LABELLED = """
SELECT CASE WHEN ready = 1 THEN -priority ELSE 0 END,
    CASE WHEN finished_at IS NOT NULL THEN -finished_at
        WHEN state = 'processing' THEN started_at ELSE run_at END,
    CASE WHEN finished_at IS NOT NULL THEN -seq ELSE seq END, id
FROM job INDEXED BY job_label WHERE {where}
ORDER BY CASE WHEN state = 'processing' THEN 0 WHEN ready = 1 THEN 1
    WHEN finished_at IS NULL THEN 2 ELSE 3 END, 1, 2, 3
LIMIT :most
"""


def select(db: Db, filters: Given, limit: int | None) -> list[Job]:
    """List jobs: what is processing, then what runs next, then what ended last."""
    return _whole(db, keys(db, filters, limit))


def ids(db: Db, filters: Given, limit: int | None) -> list[str]:
    """List the ids of jobs in the order of `select`, at a tenth of its cost."""
    return [key[3] for key in keys(db, filters, limit)]


def unfinished(db: Db, queue: str | None) -> list[Job]:
    """List every job (of a queue) that has not ended, in the order of enqueueing."""
    given = {} if queue is None else {"queue": queue}
    found = [key for walk in (_processing, _ready, _waiting) for key in walk(db, given, -1)]
    return _whole(db, sorted(found, key=lambda key: key[2]))


def keys(db: Db, filters: Given, limit: int | None) -> list[Key]:
    """Give the keys of a list, in its order."""
    given = {key: value for key, value in filters.items() if value is not None}
    counts = _counts(db, given)
    left = sum(counts.values()) if limit is None else limit
    if "label" in given and _is_rare(db, given["label"]):
        return _labelled(db, given, left)
    found: list[Key] = []
    for walk, states in (
        (_processing, ("processing",)),
        (_ready, WAITING),
        (_waiting, WAITING),
    ):
        # A walk ends when it has found all that there are: the rest of its index is not looked at.
        if most := min(left - len(found), sum(counts.get(state, 0) for state in states)):
            found += walk(db, given, most)
    return found + _ended(db, given, counts, left - len(found))


def _counts(db: Db, given: Given) -> dict[str, int]:
    """Count the jobs of this queue and state (not given: of any) by their state."""
    rows = db.execute(
        "SELECT state, sum(jobs) FROM tally WHERE (?1 IS NULL OR queue = ?1) "
        "AND (?2 IS NULL OR state = ?2) GROUP BY state",
        (given.get("queue"), given.get("state")),
    )
    return dict(rows.fetchall())


def _is_rare(db: Db, label: object) -> bool:
    row = db.execute(
        "SELECT count(*) FROM (SELECT 1 FROM job WHERE label = ? LIMIT ?)", (label, FEW + 1)
    )
    return bool(row.fetchone()[0] <= FEW)


def _labelled(db: Db, given: Given, most: int) -> list[Key]:
    filters = {**FILTERS, "state": "state = :state", "label": "label = :label"}
    where = " AND ".join(filters[key] for key in given)
    return db.execute(_LABELLED.format(where=where), {**given, "most": most}).fetchall()


def _processing(db: Db, given: Given, most: int) -> list[Key]:
    return _walk(db, given, PROCESSING, _BY_START, most)


def _ready(db: Db, given: Given, most: int) -> list[Key]:
    """Merge the lines of the queues."""
    if given.get("state") == "failed":
        return _failed(db, given, READY, _IN_LINE, most)
    which = _of_state(READY, given)
    if "queue" in given:
        return _walk(db, given, which, _IN_LINE, most)
    # A first in line that is filtered out speaks for nobody.
    lines = -1 if given else most
    queues = [queue for (queue,) in db.execute(_FOREMOST, (lines,)).fetchall()]
    return _merged(
        (_walk(db, {**given, "queue": queue}, which, _IN_LINE, most) for queue in queues), most
    )


def _waiting(db: Db, given: Given, most: int) -> list[Key]:
    if given.get("state") == "failed":
        return _failed(db, given, "ready = 0", _BY_TIME, most)
    kinds = [_of_state(kind, given) for kind in (DUE, KEPT)]
    return _merged((_walk(db, given, kind, _BY_TIME, most) for kind in kinds), most)


def _of_state(which: str, given: Given) -> str:
    return f"{which} AND state = 'pending'" if "state" in given else which


def _failed(db: Db, given: Given, which: str, order: tuple[str, str], most: int) -> list[Key]:
    which = f"state = 'failed' AND {which}"
    return _walk(db, given, which, order, most, table="job INDEXED BY job_failed")


def _ended(db: Db, given: Given, counts: Mapping[str, int], left: int) -> list[Key]:
    parts = []
    for state in ENDED:
        if most := min(left, counts.get(state, 0)):
            which = f"finished_at IS NOT NULL AND state = '{state}'"
            parts.append(_walk(db, given, which, _LATEST, most, since=_ENDED_SINCE))
    return _merged(parts, left)


def _merged(parts: Iterable[list[Key]], most: int) -> list[Key]:
    found = sorted(key for part in parts for key in part)
    return found if most < 0 else found[:most]


def _walk(
    db: Db,
    given: Given,
    which: str,
    order: tuple[str, str],
    most: int,
    *,
    since: str = FILTERS["since"],
    table: str = "job",
) -> list[Key]:
    filters = {**FILTERS, "since": since}
    where = " AND ".join([which, *(filters[key] for key in given if key != "state")])
    key, by = order
    return db.execute(
        f"SELECT {key}, id FROM {table} WHERE {where} ORDER BY {by} LIMIT :most",
        {**given, "most": most},
    ).fetchall()


def _whole(db: Db, found: Sequence[Key]) -> list[Job]:
    """Read the jobs that the keys stand for, in their order."""
    numbers = [abs(key[2]) for key in found]
    listed = f"[{','.join(map(str, numbers))}]"
    jobs = read(db, "WHERE seq IN (SELECT value FROM json_each(?))", (listed,))
    by_number = {job.seq: job for job in jobs}
    return [by_number[number] for number in numbers]
