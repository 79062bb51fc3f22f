"""`queuectl help CMD`: the same page as `queuectl CMD --help`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser

EXAMPLES = """
examples:
  queuectl help
  queuectl help enqueue
  queuectl help worker start
"""


def arguments(parser: ArgumentParser) -> None:
    """Declare what `help` takes; cli.py, which knows all commands, does it."""
    parser.add_argument("topic", nargs="*", metavar="COMMAND", help="what to explain")
    parser.set_defaults(run=None)
