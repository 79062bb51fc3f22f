"""The benchmark's own sums, and that it keeps to files of its own."""

from __future__ import annotations

import unittest
from pathlib import Path

from tests.bench.figure import Bar, Contestant, Figure, race, ratios
from tests.bench.lab import refuse_foreign
from tests.store import temporary


class FigureTest(unittest.TestCase):
    def test_a_bar_is_met_from_its_own_side(self) -> None:
        for bar, value, met in (
            (Bar(1.25), 1.25, True), (Bar(1.25), 1.26, False),
            (Bar(0.45, at_least=True), 0.45, True), (Bar(0.45, at_least=True), 0.44, False),
        ):  # fmt: skip
            self.assertIs(Figure("f", "", rounds=(value,), bar=bar).met, met)
        self.assertIsNone(Figure("f", "", bar=Bar(1), missing="not here").met)

    def test_rounds_that_differ_are_called_unsteady(self) -> None:
        self.assertTrue(Figure("f", "", rounds=(1.0, 1.05, 1.1, 1.0)).steady)
        self.assertFalse(Figure("f", "", rounds=(1.0, 2.0, 1.1, 3.0)).steady)
        self.assertIsNone(Figure("f", "", rounds=(1.0,)).steady)

    def test_everyone_runs_once_a_round_and_begins_in_turn(self) -> None:
        order: list[str] = []

        def timed(name: str) -> Contestant:
            return Contestant(name, lambda: order.append(name) or 2.0)  # type: ignore[func-returns-value]

        times = race([timed("a"), timed("b")], 3)
        self.assertEqual("".join(order), "abbaab")
        self.assertEqual(ratios(times["a"], times["b"]), (1.0, 1.0, 1.0))


class OwnFilesTest(unittest.TestCase):
    def test_a_database_that_is_there_or_elsewhere_is_refused(self) -> None:
        folder = temporary(self)
        refuse_foreign(folder / "q.db")
        (folder / "there.db").touch()
        for path in (folder / "there.db", folder / "sub" / "q.db", Path("/nowhere/q.db")):
            with self.subTest(path), self.assertRaises(SystemExit):
                refuse_foreign(path)


if __name__ == "__main__":
    unittest.main()
