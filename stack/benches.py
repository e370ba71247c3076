"""The way to the benches: they lie in a checkout and are not installed with the package."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from civicstream.errors import ConfigurationError

__all__ = ["find_benches"]


def find_benches(checkout: Path = Path(__file__).parents[1]) -> None:
    """Let this process and its children import ``benchmarks``.

    Raise ConfigurationError where ``checkout``, the folder that holds this package, has none.
    """
    if not (checkout / "benchmarks" / "registry.py").is_file():
        raise ConfigurationError(
            f"no benches beside {checkout / 'stack'}: they are not installed with the package; "
            "run `make bench` or `.venv/bin/civicstream bench` in a checkout"
        )
    if str(checkout) not in sys.path:
        sys.path.append(str(checkout))
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if str(checkout) not in given:
        os.environ["PYTHONPATH"] = os.pathsep.join([*filter(None, given), str(checkout)])
