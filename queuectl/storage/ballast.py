"""A small file that is given up when the disk is full, so that a result can still be stored.

On a disk that is 100 % full a WAL database cannot even be opened to read.
"""

from __future__ import annotations

import os

from queuectl.place import Place

SIZE_BYTES = 256 * 1024


def keep(place: Place) -> None:
    """Write the ballast if it is not there and there is room for it.

    To try it where there is none would fill the disk for a moment, under whoever writes then.
    """
    path = _path(place)
    if is_kept(place) or not _has_room(place):
        return
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except OSError:
        return  # it is there, or there is no room
    try:
        # Bytes that no file system can store as a hole.
        if os.write(fd, os.urandom(SIZE_BYTES)) < SIZE_BYTES:
            os.unlink(path)
    except OSError:
        os.unlink(path)
    finally:
        os.close(fd)


def release(place: Place) -> None:
    """Give the ballast up."""
    try:
        os.unlink(_path(place))
    except OSError:
        pass


def is_kept(place: Place) -> bool:
    """Say whether the ballast is there."""
    return os.path.lexists(_path(place))


def _has_room(place: Place) -> bool:
    try:
        found = os.statvfs(place.state)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize >= 2 * SIZE_BYTES


def _path(place: Place) -> str:
    return os.path.join(place.state, "ballast")
