"""Help pages: they open with examples, fit 80 columns, and name the units."""

from __future__ import annotations

import unittest
from collections.abc import Iterator

from queuectl.cli import COMMANDS, parsers, short_help
from tests.calls import call


def pages() -> Iterator[tuple[str, ...]]:
    """List what can be asked about: each command, and each of its second words."""
    for name, parser in parsers(*COMMANDS).items():
        yield (name,)
        for words in parser._subparsers._group_actions if parser._subparsers else ():
            yield from ((name, word) for word in words.choices or ())


class HelpTest(unittest.TestCase):
    def test_every_page(self) -> None:
        asked = list(pages())
        self.assertGreater(len(asked), len(COMMANDS) + 15)
        for words in asked:
            with self.subTest(words):
                page = call("help", *words).out
                self.assertEqual(page, call(*words, "--help").out)
                examples = page.partition("\nusage: ")[0]
                self.assertEqual(examples.split("\n")[0], "examples:")
                self.assertIn(f"  queuectl {' '.join(words)}", examples)
                self.assertIn(f"usage: queuectl {' '.join(words)}", page)
                self.assertEqual([line for line in page.split("\n") if len(line) > 80], [])
                self.assertEqual("DUR" in page, "DUR is a length: 90 or 90s (seconds)" in page)

    def test_the_short_help(self) -> None:
        self.assertLessEqual(max(map(len, short_help().split("\n"))), 80)


if __name__ == "__main__":
    unittest.main()
