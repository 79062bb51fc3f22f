"""Run the fault catalogue: a line a row, and at the end "N passed, N failed, N skipped"."""

from __future__ import annotations

import argparse
import json
import sys
import time

from tests.faults import MANDATORY, ROWS, Row, Skipped, jobs, machine, people, processes, storage
from tests.support import Sandbox

MODULES = (processes, jobs, machine, storage, people)  # importing them has filled ROWS


def main() -> int:
    """Run the rows asked for; exit status 1 where one failed, or had to run and did not."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--rows", metavar="LIST", help="such as 1,2,8-10")
    parser.add_argument("--fast", action="store_true", help="what CI runs")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    wanted = _numbers(options.rows) if options.rows else None
    results = [
        _run(row, quiet=options.json)
        for row in sorted(ROWS, key=lambda row: (int(row.number.rstrip("b")), row.number))
        if (wanted is None or row.number in wanted) and (row.fast or not options.fast)
    ]
    return _report(results, as_json=options.json)


def _run(row: Row, *, quiet: bool) -> dict[str, object]:
    began = time.monotonic()
    how, why = "ran", ""
    try:
        box = Sandbox()
        try:
            row.check(box)
        finally:
            box.close()
    except Skipped as skip:
        how, why = "skipped", str(skip)
    except AssertionError as error:
        how, why = "FAILED", _one_line(str(error))
    except Exception as error:  # whatever it is, the other rows still have their turn
        how, why = "FAILED", _one_line(f"{type(error).__name__}: {error}")
    told = f"{how} ({why})" if why else how
    if not quiet:
        took_s = time.monotonic() - began
        print(f"row {row.number:<4} {told:<8} {row.title}  [{took_s:.1f} s]", flush=True)
    return {"row": row.number, "title": row.title, "how": how, "why": why}


def _one_line(text: str) -> str:
    return text.replace("\n", " | ")[:600]


def _report(results: list[dict[str, object]], *, as_json: bool) -> int:
    hows = [each["how"] for each in results]
    ran, failed, skipped = (hows.count(how) for how in ("ran", "FAILED", "skipped"))
    missing = [
        f"row {each['row']} is mandatory and was skipped"
        for each in results
        if each["how"] == "skipped" and each["row"] in MANDATORY
    ] + [f"row {number} is mandatory and not in the catalogue" for number in _not_entered()]
    talk = sys.stderr if as_json else sys.stdout
    if as_json:
        print(json.dumps(results))
    for what in missing:
        print(what, file=talk)
    print(f"{ran} passed, {failed + len(missing)} failed, {skipped} skipped", file=talk)
    return int(bool(failed or missing))


def _not_entered() -> list[str]:
    """List the mandatory rows of which CI would run nothing, whatever was asked for now."""
    return sorted(MANDATORY - {row.number for row in ROWS if row.fast}, key=int)


def _numbers(text: str) -> set[str]:
    found: set[str] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        found |= set(map(str, range(int(first), int(last) + 1))) if dash else {part}
    return found


if __name__ == "__main__":
    sys.exit(main())
