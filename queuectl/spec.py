"""What a person may ask of a job: the options, checked and completed into a row for storage.

Flags, JSON keys and Python keywords are the same table, so they mean the same.
"""

from __future__ import annotations

import os
import time

from queuectl import config, values
from queuectl.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Kept out of a job's way: what the kernel takes for arguments and environment together.
MAX_ENVIRONMENT = 1_500_000
MAX_KEY = 1024


def _command(value: object) -> str:
    return values.text(value, values.MAX_ARGUMENT - 1)


def _argv(value: object) -> list[str]:
    if not isinstance(value, list):
        raise ValueError("takes a list of words")
    if not value:
        raise ValueError("is empty")
    return [_command(word) for word in value]


def _environment(value: object) -> dict[str, str | None]:
    if not isinstance(value, dict):
        raise ValueError("takes an object of names and values")
    for name, content in value.items():
        if not values.text(name) or "=" in name:
            raise ValueError(f"{name!a} is no name of a variable")
        if content is not None:
            values.text(content)
    return value


def _key(value: object) -> str:
    key = values.text(value)
    if not key or len(key) > MAX_KEY:
        raise ValueError(f"takes a key of 1 to {MAX_KEY} characters")
    return key


def _parents(value: object) -> list[str]:
    """Take ids of jobs: a comma list, a JSON list, or one whole number."""
    parts = value.split(",") if isinstance(value, str) else value
    parts = parts if isinstance(parts, list) else [parts]
    ids = [str(part) if type(part) is int else part for part in parts]
    if not ids:
        raise ValueError("takes ids of jobs")
    return [values.name(part) for part in ids]


# option -> reader. `-` for `_` makes the flag.
OPTIONS: dict[str, Callable[[object], object]] = {
    "command": _command,
    "argv": _argv,
    "id": values.job_id,
    "queue": values.name,
    "priority": values.whole,
    "delay": values.duration,
    "at": values.text,
    "max_retries": values.count,
    "backoff_base": values.number,
    "timeout": values.optional(values.length),
    "cwd": values.filled,
    "env": _environment,
    "label": values.text,
    "no_retry_on": values.exit_codes,
    "unique": _key,
    "after": _parents,
    "after_finished": _parents,
    "expires": values.length,
    "slots": values.positive,
    "hold": values.flag,
}
# Words of the early tool's job object, accepted and ignored (contract §4).
_EARLY = ("attempts", "created_at", "updated_at", "state")


def check(options: Mapping[str, object], flag: Callable[[str], str]) -> dict[str, object]:
    """Check every option; `flag` names one in an error. None stands for "not given"."""
    checked = {}
    for key, value in options.items():
        if key not in OPTIONS:
            hint = values.nearest(key, [*OPTIONS, *_EARLY])
            raise UsageError(f"{flag(key)} is unknown", hint)
        if value is None and key != "timeout":
            continue
        try:
            checked[key] = OPTIONS[key](value)
        except ValueError as error:
            raise UsageError(f"{flag(key)} {error}") from None
    return checked


def from_json(text: str) -> dict[str, object]:
    """Read the JSON form of a job; raises UsageError."""
    import json

    try:
        found = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_no_twins)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the command looks like JSON and does not parse: {error}") from None
    if found.get("attempts", 0) != 0 or found.get("state", "pending") != "pending":
        raise UsageError('a new job has "state":"pending" and "attempts":0')
    options = {key: value for key, value in found.items() if key not in _EARLY}
    if isinstance(options.get("id"), int):
        raise UsageError('"id" takes text; numbers are given by queuectl')
    return check(options, lambda key: f'"{key}"')


def looks_like_json(text: str) -> bool:
    """Tell a JSON object from a shell command that begins with a brace."""
    return text[:1] == "{" and text[1:].lstrip(" \t\r\n")[:1] in ('"', "}")


def complete(
    options: Mapping[str, object], settings: Mapping[str, str], now: int
) -> dict[str, object]:
    """Fill in the defaults and give the row to insert.

    `settings` are the stored ones, `now` is in ms. Raises UsageError.
    """
    command, argv = _what_to_run(options)
    run_at = _run_at(options, now)
    directory = os.path.realpath(str(options["cwd"])) if "cwd" in options else _here()
    return {
        "name": options.get("id"),
        "command": command,
        "argv": argv,
        "queue": options.get("queue", "default"),
        "priority": options.get("priority", 0),
        "label": options.get("label"),
        "held": int(bool(options.get("hold"))),
        "max_retries": _default("max_retries", options, settings),
        "backoff_base": _default("backoff_base", options, settings),
        "backoff_max_s": config.resolve("backoff-max", settings)[0],
        "timeout_s": _default("timeout", options, settings),
        "no_retry_on": options.get("no_retry_on"),
        "slots": options.get("slots", 1),
        "unique_key": options.get("unique"),
        "after": _listed(options),
        "after_completed": options.get("after"),
        "after_finished": options.get("after_finished"),
        "expires_at": _expires_at(options, now),
        "cwd": os.fsencode(directory),
        "umask": _umask(),
        "environment": _kept_environment(options, settings),
        "schedule": None,
        "run_at": run_at,
    }


def shell_line(value: str) -> str:
    """Take a command line for the shell. Raises UsageError."""
    try:
        return _command(value)
    except ValueError as error:
        raise UsageError(f"the command {error}") from None


def _kept_environment(options: Mapping[str, object], settings: Mapping[str, str]) -> bytes:
    """Take the environment that a job keeps, unless it is too large to start a program with."""
    added = options.get("env") or {}
    which = str(config.resolve("capture-env", settings)[0])
    taken = config.captured_environment(which, added)  # type: ignore[arg-type]
    longest = max((len(entry) for entry in taken.split(b"\0")), default=0)
    if len(taken) > MAX_ENVIRONMENT or longest >= values.MAX_ARGUMENT:
        raise UsageError("the environment is too large to start a program with")
    return taken


def _what_to_run(options: Mapping[str, object]) -> tuple[str, str | None]:
    argv = options.get("argv")
    command = options.get("command")
    if command is not None and argv is not None:
        raise UsageError("a command and an argv exclude each other")
    if command is None and argv is None:
        raise UsageError("there is no command", 'To enqueue one: queuectl enqueue "make test"')
    if argv is None:
        if not str(command).strip():
            raise UsageError("the command is empty", 'To enqueue one: queuectl enqueue "make test"')
        return str(command), None
    assert isinstance(argv, list)
    if not argv[0].strip():
        raise UsageError("the command is empty", "To enqueue one: queuectl enqueue -- make test")
    import json
    from shlex import join

    return join(argv), json.dumps(argv, ensure_ascii=False)


def _run_at(options: Mapping[str, object], now: int) -> int:
    if "at" in options and "delay" in options:
        raise UsageError("--at and --delay exclude each other")
    if "at" not in options:
        return now + round(float(options.get("delay", 0)) * 1000)  # type: ignore[arg-type]
    try:
        return values.instant(options["at"], now)
    except ValueError as error:
        raise UsageError(f"--at {error}") from None


def _expires_at(options: Mapping[str, object], now: int) -> int | None:
    if "expires" not in options:
        return None
    return now + round(float(options["expires"]) * 1000)  # type: ignore[arg-type]


def _listed(options: Mapping[str, object]) -> str | None:
    """Write down the parents as JSON, to be shown; None where there are none."""
    named = [*options.get("after", ()), *options.get("after_finished", ())]  # type: ignore[misc]
    if not named:
        return None
    import json

    return json.dumps(list(dict.fromkeys(named)))


def _default(key: str, options: Mapping[str, object], settings: Mapping[str, str]) -> object:
    if key in options:
        return options[key]
    return config.resolve(key.replace("_", "-"), settings)[0]


def _here() -> str:
    try:
        return os.getcwd()
    except OSError:
        raise UsageError("the current directory is gone", "Name one: --cwd DIR") from None


def _umask() -> int:
    mask = os.umask(0o077)  # there is no way to read it without setting it
    os.umask(mask)
    return mask


def is_past(at: object) -> bool:
    """Say whether a checked --at lies in the past."""
    now = now_ms()
    return values.instant(at, now) < now


def is_gone(directory: object) -> bool:
    """Say whether a checked --cwd is no directory at present."""
    return not os.path.isdir(str(directory))


def now_ms() -> int:
    """Give the clock's time in ms since 1970, UTC."""
    return time.time_ns() // 1_000_000


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not a number that JSON has")


def _no_twins(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands there twice")
    return found
