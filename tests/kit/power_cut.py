"""A disk that loses its power: an ext4 file system of its own, shut down without writing anything.

What the kernel had not written yet is gone, as after a cut: file contents, sizes, names and maps
alike. When it is mounted again, the journal is played as after any crash.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["Disk", "disk", "disk_missing"]

# linux/fs/ext4/ext4.h: EXT4_IOC_SHUTDOWN, EXT4_GOING_FLAGS_NOLOGFLUSH
_SHUTDOWN = 0x8004587D
_WITHOUT_THE_JOURNAL = 2


def disk_missing() -> str:
    """Return why there can be no such disk here; empty when there can."""
    if os.geteuid() != 0 or not Path("/dev/loop-control").exists():
        return "a disk that can be cut needs root and /dev/loop-control"
    missing = [name for name in ("mkfs.ext4", "mount", "umount") if shutil.which(name) is None]
    return f"{', '.join(missing)} not installed" if missing else ""


class Disk:
    """Mounted at ``folder`` when constructed."""

    def __init__(self, scratch: Path, size_mb: int = 4096) -> None:
        self.folder = scratch / "disk"
        self._image = scratch / "disk.img"
        self.folder.mkdir()
        with self._image.open("wb") as image:
            image.truncate(size_mb << 20)  # sparse
        _run("mkfs.ext4", "-q", "-F", self._image)
        self.mount()

    def mount(self) -> None:
        _run("mount", "-o", "loop", self._image, self.folder)

    def cut(self) -> None:
        """From now on every access fails; nothing more is written."""
        place = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(place, _SHUTDOWN, struct.pack("I", _WITHOUT_THE_JOURNAL))
        finally:
            os.close(place)

    def unmount(self) -> None:
        """Whoever had files open must have ended."""
        _run("umount", self.folder)

    def power_up(self) -> None:
        """Come back after a cut, with what had been written."""
        self.unmount()
        self.mount()


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


@contextmanager
def disk(scratch: Path) -> Iterator[Disk]:
    made = Disk(scratch)
    try:
        yield made
    finally:
        with suppress(subprocess.CalledProcessError):
            made.unmount()
        (scratch / "disk.img").unlink()
