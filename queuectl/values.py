"""Read what people type: counts, lengths, instants, names. Flags, JSON and config all come here.

Every function takes text or a JSON value and returns the checked value, or raises ValueError
with words that finish the sentence "--timeout: …".
"""

from __future__ import annotations

import re
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

MAX_COUNT = 1_000_000_000
MAX_LENGTH_S = 1_000_000_000.0  # 31 years: a longer wait is a mistake, and ms fit in 64 bits
MAX_TEXT = 65_536
# Linux refuses a longer single argument with E2BIG, whatever ARG_MAX says (MAX_ARG_STRLEN).
MAX_ARGUMENT = 131_072

_DIGITS = r"\+?([0-9]{1,18}(\.[0-9]{0,18})?|\.[0-9]{1,18})"
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_SIZES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def text(value: object, limit: int = MAX_TEXT) -> str:
    """Take a string that a terminal, JSON and SQLite can all hold, of `limit` bytes at most."""
    if not isinstance(value, str):
        raise ValueError(f"takes text, not {_shown(value)}")
    if "\0" in value:
        raise ValueError("has a NUL byte")
    try:
        size = len(value.encode("utf-8"))
    except UnicodeEncodeError:
        raise ValueError("is not valid UTF-8") from None
    if size > limit:
        raise ValueError(f"is {size} bytes long; at most {limit} are taken")
    return value


def filled(value: object) -> str:
    """Take a string that is not blank."""
    found = text(value)
    if not found.strip():
        raise ValueError("is empty")
    return found


def count(value: object) -> int:
    """Take a whole number from 0 up."""
    return whole(value, 0)


def positive(value: object) -> int:
    """Take a whole number from 1 up."""
    return whole(value, 1)


def whole(value: object, least: int = -MAX_COUNT, most: int = MAX_COUNT) -> int:
    """Take a whole number; by default of either sign."""
    number = value
    if isinstance(value, str) and _is_digits(value[value[:1] in ("+", "-") :]):
        number = int(value)
    if isinstance(number, bool) or not isinstance(number, int) or not least <= number <= most:
        raise ValueError(f"takes a whole number from {least} to {most}, not {_shown(value)}")
    return number


def _is_digits(text: str) -> bool:
    # Compiling a regular expression takes 0.1 ms, and an enqueue reads only plain numbers.
    return text.isascii() and text.isdigit() and len(text) <= 18


def number(value: object) -> float:
    """Take a finite number from 0 up."""
    result: object = value
    if isinstance(value, str):
        pattern = r"\+?([0-9]{1,18}(\.[0-9]{0,18})?|\.[0-9]{1,18})"
        if _is_digits(value) or re.fullmatch(pattern, value):
            result = float(value)
    is_number = isinstance(result, (int, float)) and not isinstance(result, bool)
    if not is_number or not 0 <= result <= MAX_COUNT:  # type: ignore[operator]  # NaN is not, too
        raise ValueError(f"takes a number from 0 to {MAX_COUNT}, in digits, not {_shown(value)}")
    return float(result)  # type: ignore[arg-type]


def duration(value: object) -> float:
    """Take a length like 90, 90s, 1h30m or 2d; give seconds."""
    if isinstance(value, str) and value[-1:] in _UNITS and _is_digits(value[:-1]):
        seconds = float(value[:-1]) * _UNITS[value[-1]]
    elif isinstance(value, str) and re.match("-[0-9.]", value):
        raise ValueError(f"takes no negative length, as {_shown(value)} is")
    elif isinstance(value, str) and not re.fullmatch(r"[0-9.]+", value):
        parts = re.findall(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)(ms|[smhdw])", value)
        if not parts or "".join(n + unit for n, unit in parts) != value:
            raise ValueError(f"takes a length like 90s, 1h30m or 2d, not {_shown(value)}")
        seconds = sum(float(n) * _UNITS[unit] for n, unit in parts)
    else:
        seconds = number(value)
    if seconds > MAX_LENGTH_S:
        raise ValueError(f"{_shown(value)} is too long (at most {int(MAX_LENGTH_S)}s)")
    return seconds


def length(value: object) -> float:
    """Take a duration longer than nothing."""
    seconds = duration(value)
    if seconds < 0.001:
        raise ValueError("takes a length above 0")
    return seconds


def size(value: object) -> int:
    """Take a size like 64MiB, 10k or 1048576; give bytes."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    match = re.fullmatch(r"([0-9]{1,15})\s*([kmgt]?)(?:i?b)?", str(value).lower())
    if not match:
        raise ValueError(f"takes a size like 64MiB, not {_shown(value)}")
    return int(match[1]) * _SIZES[match[2]]


def name(value: object) -> str:
    """Take the name of a queue, a schedule or a slot."""
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", value):
        raise ValueError(
            f"{_shown(value)} is no name: letters, digits, . _ - (64 at most, no sign first)"
        )
    return value


def job_id(value: object) -> str:
    """Take an id that a person chose: a name, and not all digits (those are ours)."""
    chosen = name(value)
    if chosen.isdigit():
        raise ValueError(f"{_shown(value)} is all digits; such ids are given by queuectl")
    return chosen


def names(value: object) -> list[str]:
    """Take a comma list (or a JSON list) of names."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list) or not parts:
        raise ValueError(f"takes a list of names, not {_shown(value)}")
    return [name(part) for part in parts]


def exit_codes(value: object) -> str:
    """Take a comma list (or a JSON list) of exit codes 1..255; give it as a comma list."""
    parts = value.split(",") if isinstance(value, str) else value
    codes = [count(part) for part in (parts if isinstance(parts, list) else [parts])]
    for code in codes:
        if not 1 <= code <= 255:
            raise ValueError(f"takes exit codes from 1 to 255, not {code}")
    return ",".join(map(str, codes))


def flag(value: object) -> bool:
    """Take a JSON true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"takes true or false, not {_shown(value)}")
    return value


def choice(*allowed: str) -> Callable[[object], str]:
    """Make a reader that takes one of these words."""

    def read(value: object) -> str:
        if value not in allowed:
            raise ValueError(f"takes {', '.join(allowed)}, not {_shown(value)}")
        return str(value)

    return read


def optional(read: Callable[[object], object]) -> Callable[[object], object]:
    """Make a reader that also takes `none` (JSON null): no limit."""

    def read_or_none(value: object) -> object:
        return None if value is None or value == "none" else read(value)

    return read_or_none


def instant(value: object, now: int) -> int:
    """Take a moment: RFC 3339, `2026-12-01 09:00` (local) or the next `HH:MM`; give ms UTC."""
    if not isinstance(value, str):
        raise ValueError(f"takes a time, not {_shown(value)}")
    try:
        return _next_clock(value, now) if len(value) <= 5 else _calendar(value)
    except (ValueError, OverflowError, OSError):
        raise ValueError(
            f"takes a time like 2026-12-01T09:00:00Z, '2026-12-01 09:00' or 09:00, "
            f"not {_shown(value)}"
        ) from None


def _calendar(value: str) -> int:
    from datetime import datetime

    if not re.match(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d", value):
        raise ValueError(value)
    moment = datetime.fromisoformat(value)  # without an offset: the local zone
    result = round(moment.timestamp() * 1000)
    if not 0 <= result <= 253_402_300_799_000:  # the year 9999
        raise ValueError(value)
    return result


def _next_clock(value: str, now: int) -> int:
    clock = re.fullmatch(r"([0-9]{1,2}):([0-9]{2})", value)
    if not clock or int(clock[1]) > 23 or int(clock[2]) > 59:
        raise ValueError(value)
    hour, minute = int(clock[1]), int(clock[2])
    today = time.localtime(now / 1000)
    for day in (0, 1):
        parts = (today.tm_year, today.tm_mon, today.tm_mday + day, hour, minute)
        moment = round(time.mktime((*parts, 0, 0, 0, -1)) * 1000)
        if moment > now:
            break
    return moment


def nearest(word: str, known: list[str]) -> str:
    """Give a hint that names the known word closest to a mistyped one, or the empty string."""
    from difflib import get_close_matches

    bare = {name.lstrip("-"): name for name in known}  # dashes make all flags look alike
    stem = word.lstrip("-")
    longer = [name for name in bare if len(stem) > 2 and name.startswith(stem)]
    close = longer or get_close_matches(stem, bare, n=1, cutoff=0.7)
    return f"Did you mean {bare[close[0]]}?" if close else ""


def _shown(value: object) -> str:
    """Quote a wrong value for an error message: short, printable, on one line."""
    shown = ascii(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
