"""Recurring jobs: reading what a person asks for, the row to store, and what is due.

A schedule has a rhythm (a cron line in a zone, or a length) and a template: the row of a job as
`spec` completes it, which each tick inserts again.
"""

from __future__ import annotations

import json
from itertools import islice

from queuectl import config, cron, spec, values
from queuectl.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from queuectl.job import Schedule

# A tick that is not later than this was not missed: pools are restarted, machines are busy.
ON_TIME_MS = 60_000
# What an option of one job cannot mean for a row of them.
ONCE_ONLY = frozenset({"id", "delay", "at", "after", "after_finished", "hold"})
# Columns of their own in the table, or made anew for each tick.
_NOT_IN_TEMPLATE = ("name", "cwd", "umask", "environment", "schedule", "run_at", "expires_at")


def _every(value: object) -> float:
    seconds = values.length(value)
    if seconds < 1:
        raise ValueError("takes a length from 1s up")
    return seconds


def _cron(value: object) -> str:
    cron.parse(value)
    return " ".join(str(value).split())


def _zone(value: object) -> str:
    cron.zone(value)
    return str(value)


_READERS: dict[str, Callable[[object], object]] = {
    "cron": _cron,
    "every": _every,
    "tz": _zone,
    "overlap": values.choice("skip", "queue"),
    "catchup": values.choice("none", "once"),
}


RHYTHM = tuple(_READERS)


def check(asked: Mapping[str, object], flag: Callable[[str], str]) -> dict[str, object]:
    """Check when and how to fire, and fill in the defaults; None stands for "not given".

    `flag` names an option in an error. Raises UsageError.
    """
    checked: dict[str, object] = {"overlap": "skip", "catchup": "once"}
    for key, read in _READERS.items():
        if asked.get(key) is None:
            continue
        try:
            checked[key] = read(asked[key])
        except ValueError as error:
            raise UsageError(f"{flag(key)} {error}") from None
    if ("cron" in checked) == ("every" in checked):
        both = "exclude each other" if "cron" in checked else "are both missing"
        raise UsageError(f"{flag('cron')} and {flag('every')} {both}", "Give one of them")
    checked.setdefault("tz", None)
    checked["tz"] = checked["tz"] or config.local_zone()
    return checked


def split(
    asked: Mapping[str, object], flag: Callable[[str], str]
) -> tuple[dict[str, object], dict[str, object]]:
    """Check what is asked for and tell the rhythm from a job's options. Raises UsageError."""
    options = {key: value for key, value in asked.items() if key not in RHYTHM}
    return check({key: asked.get(key) for key in RHYTHM}, flag), spec.check(options, flag)


def complete(
    name: str,
    rhythm: Mapping[str, object],
    options: Mapping[str, object],
    settings: Mapping[str, str],
    now: int,
) -> dict[str, object]:
    """Give the row of a schedule from a checked rhythm and checked options of a job.

    Raises UsageError.
    """
    try:
        values.name(name)
    except ValueError as error:
        raise UsageError(f"the name {error}") from None
    for key in sorted(ONCE_ONLY & set(options)):
        raise UsageError(f"a schedule takes no {key.replace('_', '-')}: its jobs come again")
    job = spec.complete(options, settings, now)
    template = {key: value for key, value in job.items() if key not in _NOT_IN_TEMPLATE}
    expires_at = job["expires_at"]
    template["expires_ms"] = None if expires_at is None else int(str(expires_at)) - now
    return {
        "name": name,
        "cron": rhythm.get("cron"),
        "every_s": rhythm.get("every"),
        "tz": rhythm["tz"],
        "overlap": rhythm["overlap"],
        "catchup": rhythm["catchup"],
        "template": json.dumps(template, ensure_ascii=False),
        "queue": job["queue"],
        "slots": job["slots"],
        "cwd": job["cwd"],
        "umask": job["umask"],
        "environment": job["environment"],
        "now": now,
        "next_at": next(firing(rhythm, now, now), None),
    }


def firing(rhythm: Mapping[str, object], start: int, after: int) -> Iterator[int]:
    """Give the instants after one at which a checked rhythm fires that began at `start`."""
    if rhythm.get("every") is not None:
        return cron.beats(float(str(rhythm["every"])), start, after)
    return cron.ticks(cron.parse(rhythm["cron"]), cron.zone(rhythm["tz"]), after)


def upcoming(schedule: Schedule, after: int) -> Iterator[int]:
    """Give the instants after one at which a stored schedule fires.

    Raises ValueError where this machine no longer knows the zone.
    """
    rhythm = {"cron": schedule.cron, "every": schedule.every_s, "tz": schedule.tz}
    return firing(rhythm, schedule.created_at, after)


def next_after(schedule: Schedule, now: int) -> int | None:
    """Give the next instant of a schedule; raises UsageError where its zone is unknown here."""
    try:
        return next(upcoming(schedule, now), None)
    except ValueError as error:
        raise UsageError(f"schedule {schedule.name}: --tz {error}") from None


def preview(rhythm: Mapping[str, object], count: int, now: int) -> list[int]:
    """Give the next instants of a checked rhythm that would begin now."""
    return list(islice(firing(rhythm, now, now), count))


def due(schedule: Schedule, now: int) -> tuple[int, bool, int | None]:
    """Say what a schedule whose next instant has come owes: one tick, however many passed.

    Gives that tick (the last one that passed), whether it fires, and the next instant. One that
    was missed fires only with catchup "once". Raises ValueError where the zone is unknown.
    """
    assert schedule.next_at is not None
    tick = cron.latest(lambda after: upcoming(schedule, after), schedule.next_at, now)
    on_time = now - tick <= ON_TIME_MS
    return tick, on_time or schedule.catchup == "once", next(upcoming(schedule, now), None)
