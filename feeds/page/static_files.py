"""The page's files, read once: each with its type, its ETag and its gzipped form."""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable

from civicstream.errors import ConfigurationError

__all__ = ["VERSION_MARK", "PageFiles", "StaticFile", "load_page_files"]

VERSION_MARK = "__VERSION__"
"""Stands in index.html for the version of all files, which is part of their addresses."""

_STYLE_MARK = "__PLOTLY_STYLE__"
# Plotly carries the style sheet of a library for tile maps, which we do not draw, and writes it
# into the page unless there is an element with this id. The page's policy forbids that, so
# index.html has such an element; the id changes with plotly's version.
_CARRIED_STYLE = re.compile(rb'getElementById\("([0-9a-f]{64})"\)')

_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


@dataclass(frozen=True)
class StaticFile:
    """One file as it is sent."""

    content_type: str
    etag: str
    body: bytes
    gzipped: bytes

    @classmethod
    def of(cls, name: str, body: bytes) -> StaticFile:
        """Return the file ``name`` (its ending tells the type) with content ``body``."""
        etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        # mtime 0: the same content is the same bytes in every process.
        return cls(_TYPES[name.rpartition(".")[2]], etag, body, gzip.compress(body, 6, mtime=0))


@dataclass(frozen=True)
class PageFiles:
    """``index`` is the page itself; ``files`` go by their path below ``/static/<version>/``."""

    version: str
    index: StaticFile
    files: Mapping[str, StaticFile]


def load_page_files() -> PageFiles:
    """Return all files of the page, and plotly's script out of its installed package.

    Raise ConfigurationError when plotly is not there.
    """
    files = dict(_read(resources.files("feeds.page") / "static", ""))
    files["plotly.min.js"] = StaticFile.of("plotly.min.js", _plotly())
    page = files.pop("index.html")
    tags = "".join(f"{path} {files[path].etag}\n" for path in sorted(files))
    version = hashlib.sha256(tags.encode()).hexdigest()[:16]
    carried = _CARRIED_STYLE.search(files["plotly.min.js"].body)
    body = page.body.replace(VERSION_MARK.encode(), version.encode())
    body = body.replace(_STYLE_MARK.encode(), carried[1] if carried else b"no-carried-style")
    index = StaticFile.of("index.html", body)
    return PageFiles(version, index, files)


def _read(folder: Traversable, prefix: str) -> Iterator[tuple[str, StaticFile]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _read(entry, f"{prefix}{entry.name}/")
        elif entry.name.rpartition(".")[2] in _TYPES:
            yield prefix + entry.name, StaticFile.of(entry.name, entry.read_bytes())


def _plotly() -> bytes:
    try:
        return (resources.files("plotly") / "package_data" / "plotly.min.js").read_bytes()
    except (ModuleNotFoundError, FileNotFoundError) as error:
        raise ConfigurationError(
            f"the page's charts need the package plotly with its script ({error}); "
            "install civicstream with its dependencies"
        ) from error
