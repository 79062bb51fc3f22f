"""Bring a database file to the newest schema: numbered .sql files, forward only, all or nothing.

The table of an early tool of this name is imported on the way (see early.py).
"""

from __future__ import annotations

import sqlite3

from queuectl.errors import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from queuectl.place import Place

APPLICATION_ID = 0x51435431  # "QCT1"
VERSION = 2  # the number of the newest migration


def version(db: sqlite3.Connection) -> int:
    """Give the schema version of a file of ours, 0 for one to be made ours; refuse any other."""
    db.execute("BEGIN")  # one view of the file, which another client may just be migrating
    try:
        return _version(db)
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def _version(db: sqlite3.Connection) -> int:
    application, found = db.execute(
        "SELECT application_id, user_version FROM pragma_application_id, pragma_user_version"
    ).fetchone()
    if application != APPLICATION_ID:
        filled = db.execute("SELECT 1 FROM sqlite_master").fetchone()
        if application or (found and not filled) or (filled and not _is_early(db)):
            raise Refused(
                "the database is not one of queuectl's; it was left untouched",
                "Name another one: --db PATH",
            )
        return 0
    if found > VERSION:
        raise Refused(
            f"the database has schema {found}, and this queuectl knows {VERSION}",
            "Update queuectl",
        )
    return int(found)


def migrate(db: sqlite3.Connection, found: int, place: Place) -> None:
    """Run what is missing, inside the caller's write transaction.

    Not executescript(): it would commit that transaction first.
    """
    rows = None
    if not found and _is_early(db):
        from queuectl.storage import early

        rows = early.take(db)
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    for number, script in _scripts():
        if number > found:
            for statement in _statements(script):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {number}")
    if rows is not None:
        early.put(db, place, rows)


def keep_copy(db: sqlite3.Connection, place: Place) -> None:
    """Copy the file of an early tool before it is touched; nothing to do for any other."""
    if _is_early(db):
        from queuectl.storage import early

        early.keep_copy(db, place)


def _is_early(db: sqlite3.Connection) -> bool:
    if not db.execute("SELECT 1 FROM sqlite_master").fetchone():
        return False  # a new file, most often: it need not load the importer
    from queuectl.storage import early

    return early.is_early(db)


def _scripts() -> list[tuple[int, str]]:
    from importlib.resources import files  # brings typing and tempfile: not for every enqueue

    folder = files("queuectl.storage") / "migrations"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [(int(name[:4]), (folder / name).read_text(encoding="utf-8")) for name in names]


def _statements(script: str) -> list[str]:
    statements, lines = [], ""
    for line in script.splitlines(keepends=True):
        lines += line
        if sqlite3.complete_statement(lines):
            statements.append(lines)
            lines = ""
    return statements
