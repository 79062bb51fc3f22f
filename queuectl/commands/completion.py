"""`queuectl completion`: a script for the shell, made from the parsers themselves.

The three scripts hold one table: what may follow which words (`Spot`). What is in the queue, ids
and names, the script asks queuectl for when the person presses Tab; it keeps silent if that fails.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from queuectl.commands.completion_scripts import BASH, FISH, ZSH
from queuectl.config import SETTINGS
from queuectl.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from queuectl.render import Talk

EXAMPLES = """
examples:
  source <(queuectl completion bash)              in ~/.bashrc
  source <(queuectl completion zsh)               in ~/.zshrc, after compinit
  queuectl completion fish > ~/.config/fish/completions/queuectl.fish
"""
# What a value is, by the name that the help gives it; @ is for the script to find out.
KINDS = {
    "ID": "@ids", "Q": "@queues", "G": "@groups", "KEY": " ".join(SETTINGS),
    "F": "@files", "FILE": "@files", "PATH": "@files", "DIR": "@files",
}  # fmt: skip
NOTHING = "@none"


@dataclass(frozen=True)
class Spot:
    """What may come behind some words: more words (with what they mean), flags, a value."""

    words: Mapping[str, str]
    flags: Mapping[str, tuple[str, str]]  # flag -> the kind of its value ("": none), its help
    value: str


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `completion` takes."""
    parser.add_argument("shell", choices=tuple(_SHELLS), help="the shell that is to read it")
    parser.set_defaults(run=run, about_commands=True)


def run(
    parsers: Callable[..., Mapping[str, argparse.ArgumentParser]], talk: Talk, *, shell: str
) -> int:
    """Print the script. `parsers` gives each command's, and the top one as ""."""
    if talk.as_json:
        raise UsageError("completion has no --json: its answer is a script")
    talk.answer(_SHELLS[shell](_spots(parsers())).rstrip("\n"))
    return 0


def _spots(parsers: Mapping[str, argparse.ArgumentParser]) -> dict[str, Spot]:
    """Read the parsers: the words that were typed so far, and what may come then."""
    commands = {name: parser for name, parser in parsers.items() if name}
    summaries = {name: parser.description or "" for name, parser in commands.items()}
    spots = {"": Spot(summaries, _flags(parsers[""], ""), NOTHING)}
    for name, parser in commands.items():
        spots.update(_below(parser, name))
    topics = " ".join(commands)
    return spots | {"help": Spot({}, spots["help"].flags, topics)}


def _below(parser: argparse.ArgumentParser, path: str) -> Iterator[tuple[str, Spot]]:
    inner = _inner(parser)
    words = {word: each.description or "" for word, each in inner.items()}
    plain = [a for a in parser._actions if not a.option_strings and not _is_words(a)]
    yield path, Spot(words, _flags(parser, path), _kind(plain[0], path) if plain else NOTHING)
    for word, each in inner.items():
        yield from _below(each, f"{path} {word}")


def _inner(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if _is_words(action):
            return dict(action.choices or {})
    return {}


def _is_words(action: argparse.Action) -> bool:
    return isinstance(action, argparse._SubParsersAction)


def _flags(parser: argparse.ArgumentParser, path: str) -> dict[str, tuple[str, str]]:
    return {
        flag: ("" if action.nargs == 0 else _kind(action, path), action.help or "")
        for action in parser._actions
        for flag in action.option_strings
    }


def _kind(action: argparse.Action, path: str) -> str:
    """Say what a value is: a list of words, or an @ name of the scripts."""
    if action.choices:
        return " ".join(map(str, action.choices))
    if path.startswith("schedule ") and action.metavar == "NAME" and path != "schedule add":
        return "@schedules"
    kind = KINDS.get(str(action.metavar), NOTHING)
    return "@dead" if kind == "@ids" and path.startswith("dlq ") else kind


def _posix(template: str, spots: Mapping[str, Spot]) -> str:
    """Fill the table of bash or zsh, which read the same `case`."""
    lines = []
    kinds: dict[str, list[str]] = {}
    for path, spot in spots.items():
        lines.append(
            f"    '{path}') words_='{' '.join(spot.words)}' flags_='{' '.join(spot.flags)}'"
            f" value_='{spot.value}' ;;"
        )
        for flag, (kind, _) in spot.flags.items():
            if kind:
                kinds.setdefault(kind, []).append(f"'{path} {flag}'")
    takes = [f"    {' | '.join(places)}) kind_='{kind}' ;;" for kind, places in kinds.items()]
    return template.replace("@SPOTS@", "\n".join(lines)).replace("@KINDS@", "\n".join(takes))


def _fish(spots: Mapping[str, Spot]) -> str:
    """Fill the table of fish, which shows what each word means."""
    words, flags, values, kinds = [], [], [], []
    for path, spot in spots.items():
        told = [_quoted(f"{word}\t{text}") for word, text in spot.words.items()]
        words += [f"        case '{path}'", f"            printf '%s\\n' {' '.join(told)}"] * bool(
            told
        )
        told = [_quoted(f"{flag}\t{text}") for flag, (_, text) in spot.flags.items()]
        flags += [f"        case '{path}'", f"            printf '%s\\n' {' '.join(told)}"]
        values += [f"        case '{path}'", f"            echo '{spot.value}'"]
        for flag, (kind, _) in spot.flags.items():
            if kind:
                kinds += [f"        case '{path} {flag}'", f"            echo '{kind}'"]
    filled = FISH
    for mark, lines in (("WORDS", words), ("FLAGS", flags), ("VALUES", values), ("KINDS", kinds)):
        filled = filled.replace(f"@{mark}@", "\n".join(lines))
    return filled


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("%%", "%") + "'"


_SHELLS = {
    "bash": lambda spots: _posix(BASH, spots),
    "zsh": lambda spots: _posix(ZSH, spots),
    "fish": _fish,
}
