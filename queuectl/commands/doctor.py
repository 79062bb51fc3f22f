"""`queuectl doctor`: is everything in order, and what to do where it is not."""

from __future__ import annotations

from queuectl.render import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser

    from queuectl.api import Queue
    from queuectl.render import Talk

EXAMPLES = """
examples:
  queuectl doctor
  queuectl doctor --json | jq '.[] | select(.level != "ok")'
"""


def arguments(parser: ArgumentParser) -> None:
    """Declare what `doctor` takes."""
    parser.set_defaults(run=run)


def run(queue: Queue, talk: Talk) -> int:
    """Print a line for each finding, with what to do; exit status 1 where one is bad."""
    findings = queue.examine()
    if talk.as_json:
        talk.json(
            [
                {"name": each.name, "level": each.level, "what": each.what, "do": each.do or None}
                for each in findings
            ]
        )
    for each in findings if not talk.as_json else ():
        if each.level != "ok" or not talk.quiet:
            advice = f". {each.do}" if each.do else ""
            talk.answer(one_line(f"{each.level:<4}  {each.name}: {each.what}{advice}"))
    return int(any(each.level == "bad" for each in findings))
