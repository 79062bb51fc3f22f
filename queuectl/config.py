"""The one table of settings, and where each value comes from: flag, environment, file, default.

`os.environ` is read here and in cli.py only; everything else is handed what it needs.
"""

from __future__ import annotations

import os

from queuectl import values
from queuectl.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

# key -> (default, reader, one line for people). Read at enqueue, at each run, or live.
SETTINGS: dict[str, tuple[str, Callable[[object], object], str]] = {
    "max-retries": ("3", values.count, "re-runs after the first run (read at enqueue)"),
    "backoff-base": ("2", values.number, "wait base ^ n seconds after attempt n (at enqueue)"),
    "backoff-max": ("1d", values.duration, "the longest backoff (at enqueue)"),
    "timeout": ("none", values.optional(values.length), "end a run after this long (at enqueue)"),
    "capture-env": ("all", values.text, "all, or the variables that jobs keep (at enqueue)"),
    "backoff-jitter": ("0", values.number, "lengthen a backoff by up to this part of it"),
    "kill-grace": ("10s", values.duration, "time between TERM and KILL (at each run)"),
    "shell": ("/bin/sh", values.filled, "what runs a command line, called with -c (at each run)"),
    "log-max-size": ("64MiB", values.size, "the part of a run's output that is kept"),
    "on-dead": ("none", values.optional(values.filled), "a command; gets a dead job's JSON"),
    "on-finish": (
        "none",
        values.optional(values.filled),
        "a command; gets an ended job's JSON",
    ),
    "poll-interval": ("1s", values.length, "how often idle workers look by themselves (live)"),
    "keep-completed": (
        "none",
        values.optional(values.duration),
        "prune finished jobs older (live)",
    ),
    "durability": ("full", values.choice("full", "normal"), "fsync of workers' records (live)"),
}


def known_key(key: str) -> str:
    """Take a key as typed (max_retries is max-retries); an unknown one is a UsageError."""
    plain = key.replace("_", "-")
    if plain not in SETTINGS:
        raise UsageError(
            f"there is no setting {values._shown(key)}",
            values.nearest(plain, list(SETTINGS)) or "To see them: queuectl config list",
        )
    return plain


def read(key: str, text: str, source: str) -> object:
    """Check a value and give it typed; `source` names where it came from in the error."""
    try:
        return SETTINGS[key][1](text)
    except ValueError as error:
        raise UsageError(f"{source}: {error}") from None


def resolve(
    key: str, stored: Mapping[str, str], environ: Mapping[str, str] = os.environ
) -> tuple[object, str]:
    """Give the value in force and its source: environment, then file, then default."""
    text, source = in_force(key, stored, environ)
    where = _variable(key) if source == "environment" else f"config {key}"
    return read(key, text, where), source


def in_force(
    key: str, stored: Mapping[str, str], environ: Mapping[str, str] = os.environ
) -> tuple[str, str]:
    """Give the value in force as it was typed, right or wrong, and its source."""
    if text := environ.get(_variable(key)):
        return text, "environment"
    return (stored[key], "config") if key in stored else (SETTINGS[key][0], "default")


def _variable(key: str) -> str:
    return "QUEUECTL_" + key.replace("-", "_").upper()


def database_path(flag: str | None, environ: Mapping[str, str] = os.environ) -> str:
    """Say where the database is: --db, else QUEUECTL_DB (empty is unset), else the home.

    Raises UsageError where none of the three can be had.
    """
    given = flag if flag is not None else environ.get("QUEUECTL_DB") or None
    if given is None:
        home = environ.get("HOME")
        if not home or not os.path.isabs(home):
            raise UsageError("HOME is not set", "Name the database: --db PATH or QUEUECTL_DB")
        given = os.path.join(home, ".queuectl.db")
    if not given or "\0" in given:
        raise UsageError("--db takes a path")
    return os.path.realpath(given)


def color(flag: str, environ: Mapping[str, str] = os.environ) -> str:
    """Say whether to colour: the flag, NO_COLOR, FORCE_COLOR, TERM=dumb; else "auto"."""
    if flag in ("always", "never"):
        return flag
    if environ.get("NO_COLOR"):
        return "never"
    if environ.get("FORCE_COLOR"):
        return "always"
    return "never" if environ.get("TERM") == "dumb" else "auto"


# What belongs to the terminal session that a job outlives; `at` leaves out the same kind.
_SESSION = frozenset(
    b"TERM TERMCAP COLUMNS LINES WINDOWID SSH_TTY GPG_TTY TMUX TMUX_PANE STY WINDOW SHLVL _ "
    b"OLDPWD PWD QUEUECTL_JOB_ID QUEUECTL_JOB_RUN QUEUECTL_JOB_ATTEMPT QUEUECTL_JOB_MAX_RETRIES "
    b"QUEUECTL_JOB_QUEUE QUEUECTL_JOB_LOG QUEUECTL_JOB_SLOTS".split()
)


def captured_environment(which: str, added: Mapping[str, str | None]) -> bytes:
    """Give the environment a job is to run in, as K=V separated by NUL.

    `which`: "all", or a comma list of names. `added`: K to V, or to None for the caller's own.
    """
    own = os.environb
    if which == "all":
        taken = {key: own[key] for key in own if key not in _SESSION}
    else:
        wanted = [os.fsencode(key.strip()) for key in which.split(",")]
        taken = {key: own[key] for key in wanted if key in own}
    for key, value in added.items():
        raw = os.fsencode(key)
        if value is not None:
            taken[raw] = os.fsencode(value)
        elif raw in own:
            taken[raw] = own[raw]
    return b"\0".join(b"%b=%b" % pair for pair in sorted(taken.items()))


def local_zone(environ: Mapping[str, str] = os.environ, etc: str = "/etc") -> str:
    """Name the zone that clocks here show: TZ, else the machine's, else UTC.

    Raises UsageError where TZ is a rule and no name: a schedule stores names.
    """
    if "TZ" in environ:
        name = _zone_name(environ["TZ"].lstrip(":") or "UTC")
        if name is None:
            raise UsageError("TZ does not name a zone", "Name one: --tz Europe/Berlin")
        return name
    try:
        with open(os.path.join(etc, "timezone"), encoding="utf-8", errors="replace") as file:
            named = file.readline(200).strip()
    except OSError:
        named = ""
    return _zone_name(named) or _zone_name(os.path.realpath(f"{etc}/localtime")) or "UTC"


def _zone_name(text: str) -> str | None:
    """Give the name in a name or in a path of the zone database; None where there is none."""
    from queuectl import cron

    name = text.rpartition("/zoneinfo/")[2]
    try:
        cron.zone(name)
    except ValueError:
        return None
    return name


def own_environment(db: str) -> dict[bytes, bytes]:
    """Give this process's environment, for a program that works for the queue and is no job."""
    return {**os.environb, b"QUEUECTL_DB": os.fsencode(db)}


def from_environment(keys: Sequence[str], environ: Mapping[str, str] = os.environ) -> bool:
    """Say whether one of these settings comes from the environment."""
    return any(environ.get(_variable(key)) for key in keys)


def inside_queue(db: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Say whether this process was given that very queue as its own."""
    return environ.get("QUEUECTL_DB") == db


def inside_job(environ: Mapping[str, str] = os.environ) -> str | None:
    """Give the id of the job that this very process is part of, or None."""
    return environ.get("QUEUECTL_JOB_ID") or None
