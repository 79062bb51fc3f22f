"""`queuectl help CMD`: the same page as `queuectl CMD --help`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Callable, Mapping

    from queuectl.render import Talk

EXAMPLES = """
examples:
  queuectl help
  queuectl help enqueue
  queuectl help worker start
"""


def arguments(parser: ArgumentParser) -> None:
    """Declare what `help` takes."""
    parser.add_argument("topic", nargs="*", metavar="COMMAND", help="what to explain")
    parser.set_defaults(run=run, about_commands=True)


def run(
    parsers: Callable[..., Mapping[str, ArgumentParser]], talk: Talk, *, topic: list[str]
) -> int:
    """Print the page of a command, or without one the short help; argparse then leaves."""
    name = topic[0] if topic else ""
    parsers(name)[name].parse_args([*topic[1:], "--help"])
    return 0
