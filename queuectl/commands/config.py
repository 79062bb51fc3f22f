"""`queuectl config`: read and change settings."""

from __future__ import annotations

from queuectl import config
from queuectl.commands.parsing import add_actions
from queuectl.errors import UsageError
from queuectl.render import table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser

    from queuectl.api import Queue
    from queuectl.render import Talk

EXAMPLES = """
examples:
  queuectl config list
  queuectl config set max-retries 5
  queuectl config get backoff-base
  queuectl config unset max-retries
"""
HEAD = ("KEY", "VALUE", "SOURCE", "WHAT IT DOES")


def arguments(parser: ArgumentParser) -> None:
    """Declare what `config` takes."""
    add_actions(
        parser,
        {
            "set": ("store a setting", _set_arguments),
            "get": ("print one setting", _get_arguments),
            "list": ("print every setting and where it comes from", _list_arguments),
            "unset": ("go back to the default", _unset_arguments),
        },
    )


def _set_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("key", metavar="KEY", help="a name that `config list` prints")
    parser.add_argument("value", metavar="VALUE", help="lengths: 90 or 90s (seconds), 10m, 2d")
    parser.set_defaults(run=set_one, creates=True)


def _get_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("key", metavar="KEY", help="a name that `config list` prints")
    parser.set_defaults(run=get)


def _list_arguments(parser: ArgumentParser) -> None:
    parser.set_defaults(run=list_all)


def _unset_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("key", metavar="KEY", help="a name that `config list` prints")
    parser.set_defaults(run=unset)


def set_one(queue: Queue, talk: Talk, *, key: str, value: str) -> int:
    """Store a setting."""
    queue.set(key, value)
    if talk.as_json:
        talk.json(_entry(queue, config.known_key(key)))
    return 0


def get(queue: Queue, talk: Talk, *, key: str) -> int:
    """Print one setting as it would be typed. Raises UsageError where its value is wrong."""
    config.resolve(config.known_key(key), queue.storage.settings())
    entry = _entry(queue, config.known_key(key))
    if talk.as_json:
        talk.json(entry)
    else:
        talk.answer(str(entry["value"]))
    return 0


def list_all(queue: Queue, talk: Talk) -> int:
    """Print every setting, its value, its source and what it does; 1 where a value is wrong."""
    entries = [_entry(queue, key) for key in config.SETTINGS]
    if talk.as_json:
        talk.json(entries)
    elif talk.quiet:
        for entry in entries:
            talk.answer(str(entry["key"]))
    else:
        rows = [
            (str(entry["key"]), str(entry["value"]), _source(entry), config.SETTINGS[key][2])
            for key, entry in zip(config.SETTINGS, entries, strict=True)
        ]
        talk.answer(table(HEAD, rows, whole=("KEY",), spare=("SOURCE",)))
    wrong = [entry["error"] for entry in entries if entry["error"]]
    for error in wrong:
        talk.warn(str(error))
    return int(bool(wrong))


def unset(queue: Queue, talk: Talk, *, key: str) -> int:
    """Remove a stored setting."""
    if not queue.unset(key):
        talk.warn(f"{config.known_key(key)} was not set")
    if talk.as_json:
        talk.json(_entry(queue, config.known_key(key)))
    return 0


def _entry(queue: Queue, key: str) -> dict[str, str | None]:
    stored = queue.storage.settings()
    text, source = config.in_force(key, stored)
    error = None
    try:
        config.resolve(key, stored)
    except UsageError as wrong:
        error = wrong.message
    return {"key": key, "value": text, "source": source, "error": error}


def _source(entry: dict[str, str | None]) -> str:
    return f"{entry['source']}, WRONG" if entry["error"] else str(entry["source"])
