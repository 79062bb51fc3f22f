"""The command: choose the figures, measure them, print them."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from tests.bench import lab, run, scale, storm, views, wal
from tests.bench.figure import Figure
from tests.bench.run import FULL, QUICK, Size

FIGURES: dict[str, Callable[[Size], list[Figure]]] = {
    "drain": run.drain,
    "enqueue": run.enqueue,
    "latency": run.latency,
    "idle": run.idle,
    "bulk": run.bulk,
    "scale": scale.scale,
    "clutter": scale.clutter,
    "views": views.views,
    "storm": storm.storm,
}


SLOW_CREATE_US = 60  # three times what it takes where nothing was deleted


def main() -> int:
    """Measure and print; the exit status only says whether everything could be measured."""
    options = _parser().parse_args()
    signal.signal(signal.SIGTERM, _interrupt)
    lab.scrub_environment()
    with lab.site(options.dir and os.path.realpath(options.dir)):
        return wal.watch(options.wal_minutes) if options.wal_minutes else _measure(options)


def _measure(options: argparse.Namespace) -> int:
    create_us = lab.create_us()
    began = time.monotonic()
    figures: list[Figure] = []
    for name in options.only or FIGURES:
        print(f"{name} …", file=sys.stderr, flush=True)
        figures += _measured(name, QUICK if options.quick else FULL)
    machine = _machine() | {"create_us": round(create_us)}
    machine["took_s"] = round(time.monotonic() - began, 1)
    if options.json:
        print(json.dumps({"machine": machine, "figures": [f.as_json() for f in figures]}))
    else:
        _print(machine, figures)
    return int(any(figure.missing.startswith("failed") for figure in figures))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python3 -m tests.bench", allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="small sizes, under a minute")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--only", action="append", choices=list(FIGURES), help="may be repeated")
    parser.add_argument("--dir", help="where to make the temporary directories")
    parser.add_argument(
        "--wal-minutes", type=float, metavar="N", help="watch the WAL under steady load instead"
    )
    return parser


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _measured(name: str, size: Size) -> list[Figure]:
    try:
        return FIGURES[name](size)
    except Exception as error:
        return [Figure(name, FIGURES[name].__doc__ or "", missing=f"failed: {error!r}")]


def _machine() -> dict[str, Any]:
    return {
        "cpus": os.cpu_count(),
        "load": os.getloadavg()[0],
        "busy": os.getloadavg()[0] > 2 * (os.cpu_count() or 1),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "dir": tempfile.gettempdir(),
    }


def _print(machine: dict[str, Any], figures: list[Figure]) -> None:
    print(" ".join(f"{key}={value}" for key, value in machine.items()))
    if machine["busy"]:
        print("The machine does more than it has processors for: compare ratios, trust no more.")
    if machine["create_us"] > SLOW_CREATE_US:
        print("Creating files is slow here (many were deleted just now?): try another --dir.")
    print(f"{'figure':<18} {'median':>9} {'middle half':>16} {'bar':>8}  met  what")
    for figure in figures:
        if figure.missing:
            print(f"{figure.name:<18} {'missing':>9} {'':16} {'':8}   -   {figure.missing}")
            continue
        low, high = figure.quartiles or (figure.value, figure.value)
        met = {True: "yes", False: "NO", None: "-"}[figure.met]
        shaky = "" if figure.steady is not False else " [too unsteady to mean much]"
        note = f" ({figure.note})" if figure.note else ""
        print(
            f"{figure.name:<18} {figure.value:>6.2f} {figure.unit:<4}"
            f"{low:>7.2f} .. {high:<7.2f} {figure.bar or ''!s:>7}  {met:<3}  "
            f"{figure.what}{note}{shaky}"
        )
    barred = [figure for figure in figures if figure.met is not None]
    print(f"{sum(figure.met is True for figure in barred)} of {len(barred)} bars are met")


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except KeyboardInterrupt:
        raise SystemExit(130) from None
