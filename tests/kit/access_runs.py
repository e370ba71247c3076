"""Call a real feeds process with tokens that the command line has made."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import httpx

from civicstream.settings import ENV_PREFIX
from tests.kit.feeds_runs import Front

HIDDEN = "/api/v1/openapi.json"


def run(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of ours as who initialised the database."""
    known = {k: v for k, v in os.environ.items() if not k.startswith(ENV_PREFIX)}
    return subprocess.run(
        [sys.executable, "-m", "stack.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=known | {"CIVICSTREAM_DATABASE__OWNER_URL": url},
    )


def make_token(url: str, name: str, *scopes: str, expires: str = "1h") -> str:
    chosen = [part for scope in scopes for part in ("--scope", scope)]
    made = run(url, "token", "create", name, *chosen, "--expires", expires)
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


class Visitor:
    """Calls one feeds process, from this machine."""

    def __init__(self, front: Front) -> None:
        self.base = front.url.removesuffix("/open311/v2")
        self.child = front.child

    def send(self, method: str, path: str, token: str = "", **options: Any) -> httpx.Response:
        headers = {name.replace("_", "-"): v for name, v in options.pop("headers", {}).items()}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        return httpx.request(
            method, self.base + path, headers=headers, timeout=30, trust_env=False, **options
        )

    def get(self, path: str = HIDDEN, token: str = "", **headers: str) -> httpx.Response:
        return self.send("GET", path, token, headers=headers)
