"""The disk of an embedded server: how much of it is left, and whether the server could write.

A server whose write has failed once does not store anything more until it is started again, and
does not answer who asks it to. So nothing is given it to store where little is left, and one that
could not write is started again when there is room.
"""

import os
import re
from pathlib import Path

from attrs import define, field

from cim_domain.nats.server.directory import DataDirectory

_SPOILING = 1024 * 1024
"""Bytes, with fewer of which left a write may have failed."""

_FAILED = re.compile(rb"failed to store a msg[^\n]*(no space left|quota exceeded)", re.IGNORECASE)
"""What the server writes into its log then, if that can still be written. A stream that is damaged
is told alike, but for the reason, and no new start mends it."""

_LITTLE = 4
"""So many times the reserve is little."""


@define(eq=False)
class Disk:
    """The file system that a data directory is on. All sizes are in bytes."""

    _directory: DataDirectory
    _reserve: int
    spoiled: bool = field(default=False, init=False)
    """Whether a write of the server may have failed since it was started."""
    _read: int = field(default=0, init=False)
    """How far the log has been looked through."""

    @property
    def free(self) -> int:
        """What is left for this user."""
        found = os.statvfs(self._directory.path)
        return found.f_bavail * found.f_frsize

    @property
    def no_room(self) -> str | None:
        """Why nothing more is to be stored now; None: there is room."""
        free = self.free
        if free < self._reserve:
            return self._told(free)
        if self.spoiled:
            return "the server could not write to its disk, and is about to be started again"
        return None

    @property
    def little(self) -> str | None:
        """That there will soon be no room; None: that is not so."""
        free = self.free
        return self._told(free) if free < _LITTLE * self._reserve else None

    def started(self) -> None:
        """A server is about to be started: what another one could not write is of no interest."""
        self.spoiled = False
        self._read = self._directory.log_size()

    def look(self) -> bool:
        """See whether a write has failed; whether the server is to be started again now."""
        free = self.free
        self.spoiled = self.spoiled or free < _SPOILING or self._has_failed()
        return self.spoiled and free >= max(self._reserve, _SPOILING)

    def _has_failed(self) -> bool:
        log, size = self._directory.log, self._directory.log_size()
        start = self._read if self._read <= size else 0  # rotated in between
        self._read = size
        if start == size:
            return False
        with log.open("rb") as file:
            file.seek(start)
            return _FAILED.search(file.read(size - start)) is not None

    def _told(self, free: int) -> str:
        path: Path = self._directory.path
        return f"the disk with {path} has {free} bytes left"
