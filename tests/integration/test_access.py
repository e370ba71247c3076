"""Only who has a token gets in, with it no further than its scopes, and no longer than it is good.

A real feeds process, real PostgreSQL, and tokens made by the command line.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import connect as websocket

from civicstream.kafka.topic_admin import create_topics
from civicstream.settings import KafkaSettings
from stack.servers.processes import Child, free_port, wait_until
from tests.kit.access_runs import HIDDEN, Visitor, make_token, run
from tests.kit.feeds_runs import feeds
from tests.kit.servers import TcpProxy
from tests.kit.sink_process import ask
from tests.kit.sink_rows import Loader, as_role, loader


@pytest.fixture
def database(postgres: str) -> Iterator[Loader]:
    with loader(postgres) as writer:
        yield writer


@contextmanager
def running(
    kafka: KafkaSettings, database: Loader, folder: Path, **settings: Any
) -> Iterator[Visitor]:
    create_topics(kafka)
    with feeds(kafka, database.url, folder, **settings) as front:
        yield Visitor(front)


@pytest.fixture
def guarded(kafka: KafkaSettings, database: Loader, tmp_path: Path) -> Iterator[Visitor]:
    with running(kafka, database, tmp_path, access__required="true") as visitor:
        yield visitor


@pytest.fixture
def local(kafka: KafkaSettings, database: Loader, tmp_path: Path) -> Iterator[Visitor]:
    with running(kafka, database, tmp_path) as visitor:
        yield visitor


def test_every_route_is_closed_to_strangers_and_to_scopes_that_do_not_suffice(
    guarded: Visitor, database: Loader
) -> None:
    reader = make_token(database.url, "wall-screen", "read")
    paths = guarded.get(token=reader).json()["paths"]
    routes = [(method.upper(), f"/api/v1{path}") for path, of in paths.items() for method in of]
    assert len(routes) >= 2
    for method, path in [*routes, ("GET", "/cap/v1/feed"), ("GET", "/nowhere"), ("PUT", "/x")]:
        named = re.sub(r"{\w+}", "x1", path)
        stranger = guarded.send(method, named)
        assert stranger.status_code == 401, (method, path)
        assert stranger.headers["www-authenticate"].startswith("Bearer")
        assert stranger.headers["content-type"] == "application/problem+json"
        if method not in {"GET", "HEAD"}:
            refused = guarded.send(method, named, reader)
            assert refused.status_code == 403, (method, path)
            needed = "admin" if named.startswith("/api/v1/admin") else "operate"
            assert f'scope="{needed}"' in refused.headers["www-authenticate"]
    operator = make_token(database.url, "desk-1", "operate")
    assert guarded.get(token=operator).status_code == 403, "operate alone does not read"
    assert guarded.send("GET", "/api/v1/admin/x", operator).status_code == 403


def test_what_is_open_stays_open(guarded: Visitor) -> None:
    assert guarded.get("/open311/v2/services.json").status_code == 200
    assert guarded.get("/").status_code != 401
    assert guarded.get("/static/x.js").status_code == 404
    assert guarded.get("/open/v1/x").status_code == 404


def test_a_token_that_is_unknown_malformed_or_expired_is_refused(
    guarded: Visitor, database: Loader
) -> None:
    good = make_token(database.url, "desk-1", "read")
    assert guarded.get(token=good).status_code == 200
    turned = good[:-1] + ("A" if good[-1] != "A" else "B")
    for wrong in (turned, "cst_x", "x" * 9000, good.removeprefix("cst_")):
        answer = guarded.get(token=wrong)
        assert answer.status_code == 401
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]
        assert wrong not in answer.text
    assert guarded.get(Authorization="Basic eDp5").status_code == 401
    owner = "UPDATE access.api_tokens SET expires_at = now() RETURNING 1"
    ask(database.url, owner)
    wait_until(lambda: guarded.get(token=good).status_code == 401, "its end", timeout_s=10)


def test_revocation_ends_requests_and_open_streams_within_seconds(
    guarded: Visitor, database: Loader
) -> None:
    token, other = (make_token(database.url, name, "read") for name in ("desk-1", "desk-2"))
    bearer = {"Authorization": f"Bearer {token}"}
    stream_of = f"{guarded.base}/api/v1/live"
    socket_of = f"{guarded.base.replace('http', 'ws')}/api/v1/live/ws"
    with (
        httpx.stream("GET", stream_of, headers=bearer, timeout=30, trust_env=False) as stream,
        websocket(socket_of, additional_headers=bearer, proxy=None) as socket,
    ):
        lines = stream.iter_lines()
        assert stream.status_code == 200
        next(lines)
        assert socket.recv(timeout=10)
        (listed,) = [
            line
            for line in run(database.url, "token", "list").stdout.splitlines()
            if "desk-1" in line
        ]
        assert "valid" in listed
        revoked = run(database.url, "token", "revoke", listed.split()[0])
        assert revoked.returncode == 0, revoked.stderr
        at = time.monotonic()
        list(lines)  # until it ends
        with pytest.raises(ConnectionClosedError, match="the token has ended"):
            list(socket)
        assert time.monotonic() - at < 10
        assert socket.close_code == 1008
    wait_until(lambda: guarded.get(token=token).status_code == 401, "the refusal", timeout_s=10)
    assert guarded.get(token=other).status_code == 200
    again = run(database.url, "token", "revoke", listed.split()[0])
    assert again.returncode == 2
    assert "no token" in again.stderr
    assert re.search(r"revoked\s+desk-1", run(database.url, "token", "list").stdout)


def test_a_browser_signs_in_with_a_token_and_gets_a_cookie_that_foreign_pages_cannot_use(
    guarded: Visitor, database: Loader
) -> None:
    token = make_token(database.url, "desk-1", "read", "operate")
    own = {"Origin": guarded.base, "Sec-Fetch-Site": "same-origin"}
    foreign = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    assert guarded.send("POST", "/login", json={"token": "cst_no"}).status_code == 401
    assert guarded.send("POST", "/login", json={}).status_code == 400
    assert guarded.send("POST", "/login", json={"token": token}, headers=foreign).status_code == 403
    answer = guarded.send("POST", "/login", json={"token": token}, headers=own)
    assert answer.json() == {"name": "desk-1", "scopes": ["operate", "read"]}
    cookie = answer.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie  # on loopback a browser keeps it without TLS
    jar = {"Cookie": cookie.split(";")[0]}
    assert guarded.get(**jar).status_code == 200
    assert guarded.get(**jar, **foreign).status_code == 403
    assert guarded.send("POST", "/api/v1/x", json={}, headers=jar | own).status_code == 404
    assert guarded.send("POST", "/api/v1/x", json={}, headers=jar | foreign).status_code == 403
    form = guarded.send("POST", "/api/v1/x", data={"a": "b"}, headers=jar | own)
    assert form.status_code == 403
    assert "application/json" in form.json()["detail"]
    socket_of = f"{guarded.base.replace('http', 'ws')}/api/v1/live/ws"
    with pytest.raises(InvalidStatus) as refused:
        websocket(socket_of, additional_headers=jar, origin="https://evil.example", proxy=None)  # type: ignore[arg-type]
    assert refused.value.response.status_code == 403
    with websocket(socket_of, additional_headers=jar, origin=guarded.base, proxy=None) as socket:  # type: ignore[arg-type]
        assert socket.recv(timeout=10)
    away = guarded.send("POST", "/logout", headers=jar | own)
    assert away.status_code == 204
    assert "Max-Age=0" in away.headers["set-cookie"]
    public = guarded.send("POST", "/login", json={"token": token}, headers={"Host": "city.example"})
    assert public.status_code == 400
    assert "TLS" in public.json()["detail"]


def test_without_tokens_this_machine_may_all_and_a_page_in_its_browser_nothing(
    local: Visitor,
) -> None:
    assert local.get().status_code == 200
    assert local.send("POST", "/api/v1/x", json={}).status_code == 404
    assert local.send("POST", "/api/v1/admin/x", json={}).status_code == 404
    port = local.base.rpartition(":")[2]
    for fit in ("localhost", f"localhost:{port}", f"[::1]:{port}", "127.0.0.1"):
        assert local.get(Host=fit).status_code == 200
    rebound = local.get(Host=f"evil.example:{port}")
    assert rebound.status_code == 403
    assert "evil.example" in rebound.json()["detail"]
    assert local.get(Host="127.0.0.1.evil.example").status_code == 403
    assert local.get(X_Forwarded_For="10.1.2.3").status_code == 401
    assert local.get(Via="1.1 proxy").status_code == 401
    for forged in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Content-Type": "text/plain"},
    ):
        answer = local.send("POST", "/api/v1/x", content="{}", headers=forged)
        assert answer.status_code == 403, forged
    own = {"Origin": local.base, "Sec-Fetch-Site": "same-origin"}
    assert local.send("POST", "/api/v1/x", json={}, headers=own).status_code == 404
    assert local.get(token="cst_wrong").status_code == 401, "a wrong token is not better than none"


def test_too_many_requests_of_a_token_and_wrong_tokens_of_an_address_have_to_wait(
    kafka: KafkaSettings, database: Loader, tmp_path: Path
) -> None:
    limits = {"access__burst": 5, "access__requests_per_min": 6, "access__failures_per_min": 3}
    with running(kafka, database, tmp_path, access__required="true", **limits) as visitor:
        busy, calm = (make_token(database.url, name, "read") for name in ("busy", "calm"))
        answers = [visitor.get(token=busy) for _ in range(6)]
        assert [answer.status_code for answer in answers] == [*[200] * 5, 429]
        assert answers[0].headers["ratelimit"] == '"caller";r=4;t=10'
        assert answers[0].headers["ratelimit-policy"] == '"caller";q=5;w=50'
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 10
        assert "busy" in answers[-1].json()["detail"]
        assert visitor.get(token=calm).status_code == 200
        wrong = [visitor.get(token="cst_wrong").status_code for _ in range(5)]
        assert wrong == [401, 401, 401, 429, 429]
        assert visitor.get(token=calm).status_code == 200, "a known token goes on"


def test_named_origins_may_read_with_a_token_and_tls_is_kept(
    kafka: KafkaSettings, database: Loader, tmp_path: Path
) -> None:
    page = "https://maps.example.org"
    settings = {"access__cors_origins": page, "access__tls": "true", "access__required": "true"}
    with running(kafka, database, tmp_path, **settings) as visitor:
        token = make_token(database.url, "maps", "read")
        asked = {"Origin": page, "Access-Control-Request-Method": "GET"}
        preflight = visitor.send("OPTIONS", HIDDEN, headers=asked)
        assert preflight.status_code == 204
        assert "Authorization" in preflight.headers["access-control-allow-headers"]
        answer = visitor.get(token=token, Origin=page)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == page
        assert "access-control-allow-credentials" not in answer.headers
        assert answer.headers["strict-transport-security"].startswith("max-age=")
        other = {"Origin": f"{page}.evil.example"}
        assert visitor.send("OPTIONS", HIDDEN, headers=asked | other).status_code == 401
        assert "access-control-allow-origin" not in visitor.get(token=token, **other).headers
        signed_in = visitor.send(
            "POST", "/login", json={"token": token}, headers={"Host": "city.example"}
        )
        cookie = signed_in.headers["set-cookie"]
        assert cookie.startswith("__Host-civicstream=")
        assert "Secure" in cookie


def test_while_the_database_is_away_known_callers_go_on_and_unknown_ones_are_told(
    kafka: KafkaSettings, timescaledb: str, tmp_path: Path, tcp_proxy: type[TcpProxy]
) -> None:
    with loader(timescaledb) as database:
        known, late = (make_token(timescaledb, name, "read") for name in ("known", "late"))
        proxy = tcp_proxy(int(conninfo_to_dict(timescaledb)["port"] or 0))
        reader = as_role(timescaledb, "civicstream_reader").get_secret_value()
        through = make_conninfo(reader, port=proxy.port)
        settings = {"access__required": "true", "feeds__database_url": through}
        with running(kafka, database, tmp_path, **settings) as visitor:
            assert visitor.get(token=known).status_code == 200
            proxy.cut()
            assert visitor.get(token=known).status_code == 200
            answer = visitor.get(token=late)
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "5"
            assert "database" in answer.json()["detail"]
            proxy.restore()
            wait_until(lambda: visitor.get(token=late).status_code == 200, "it", timeout_s=30)


def test_feeds_that_others_reach_do_not_start_without_tokens(tmp_path: Path) -> None:
    variables = {
        "CIVICSTREAM_FEEDS__HOST": "0.0.0.0",  # noqa: S104 that is what is refused
        "CIVICSTREAM_FEEDS__PORT": str(free_port()),
    }
    command = [sys.executable, "-m", "stack.cli", "feeds"]
    child = Child("feeds", command, tmp_path / "feeds.log", os.environ | variables)
    wait_until(lambda: not child.alive(), "the refusal", timeout_s=30)
    assert child.returncode == 2
    assert "CIVICSTREAM_ACCESS__REQUIRED=true" in child.last_words()
    assert "civicstream token create" in child.last_words()
