"""JWTs are taken from the configured issuer only, over a real HTTP issuer with keys of its own."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from civicstream.errors import ConfigurationError, ServerUnavailable
from civicstream.settings import AccessSettings
from feeds.access.callers import Caller
from feeds.access.issuer_keys import IssuerKeys
from feeds.access.web_tokens import WebTokens, parse_scopes

AUDIENCE = "civicstream"
_RSA = rsa.generate_private_key(65537, 2048)
_EC = ec.generate_private_key(ec.SECP256R1())
_ED = ed25519.Ed25519PrivateKey.generate()


def _jwk(kid: str, key: Any) -> dict[str, Any]:
    kinds = {rsa.RSAPrivateKey: RSAAlgorithm, ec.EllipticCurvePrivateKey: ECAlgorithm}
    maker = next((m for kind, m in kinds.items() if isinstance(key, kind)), OKPAlgorithm)
    made: dict[str, Any] = json.loads(maker.to_jwk(key.public_key()))
    return made | {"kid": kid, "use": "sig"}


class Issuer:
    """Discovery and keys over HTTP; ``asked`` counts the requests for keys."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = [_jwk("r", _RSA), _jwk("e", _EC), _jwk("d", _ED)]
        self.asked = 0
        self.away = False
        self.named: str | None = None
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = issuer.answer(self.path)
                self.send_response(503 if body is None else 200)
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/realm"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    def answer(self, path: str) -> bytes | None:
        if self.away:
            return None
        if path.endswith("/openid-configuration"):
            issuer = self.named or self.url
            return json.dumps({"issuer": issuer, "jwks_uri": f"{self.url}/keys"}).encode()
        self.asked += 1
        return json.dumps({"keys": self.keys}).encode()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    made = Issuer()
    yield made
    made.close()


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def web_tokens(issuer: Issuer, clock: Clock | None = None, **settings: Any) -> WebTokens:
    chosen = AccessSettings(
        **{"oidc_issuer": issuer.url, "oidc_audience": AUDIENCE, "oidc_leeway_s": 5} | settings
    )
    return WebTokens(chosen, IssuerKeys(issuer.url, clock or Clock()))


def token(
    issuer: Issuer, key: Any = _RSA, kid: str | None = "r", algorithm: str = "RS256", **claims: Any
) -> str:
    now = time.time()
    content = {
        "iss": issuer.url,
        "aud": AUDIENCE,
        "sub": "anna",
        "exp": now + 60,
        "scope": "openid read operate",
    } | claims
    headers = {"kid": kid} if kid else None
    content = {name: value for name, value in content.items() if value is not None}
    return jwt.encode(content, key, algorithm, headers)


def found(tokens: WebTokens, text: str) -> Caller | str:
    return asyncio.run(tokens.find(text))


def refused(tokens: WebTokens, text: str) -> str:
    result = found(tokens, text)
    assert isinstance(result, str), result
    return result


@pytest.mark.parametrize(
    ("key", "kid", "algorithm"),
    [(_RSA, "r", "RS256"), (_EC, "e", "ES256"), (_ED, "d", "EdDSA"), (_EC, None, "ES256")],
)
def test_a_signed_token_of_the_issuer_is_its_subject_with_the_scopes_it_names(
    issuer: Issuer, key: Any, kid: str | None, algorithm: str
) -> None:
    caller = found(web_tokens(issuer), token(issuer, key, kid, algorithm))
    assert isinstance(caller, Caller)
    assert (caller.name, caller.scopes) == ("oidc/anna", {"read", "operate"})
    assert caller.expires_at is not None
    assert caller.expires_at > time.time()


def test_roles_deep_inside_are_mapped_to_scopes_and_a_name_is_taken_from_its_claim(
    issuer: Issuer,
) -> None:
    tokens = web_tokens(
        issuer,
        oidc_scope_claim="realm_access.roles",
        oidc_scopes="city-operator=operate,city-viewer=read",
        oidc_name_claim="email",
    )
    roles = {"roles": ["city-operator", "admin", 7]}
    caller = found(tokens, token(issuer, email="anna@city.example", realm_access=roles))
    assert isinstance(caller, Caller)
    assert (caller.name, caller.scopes) == ("oidc/anna@city.example", {"operate"})
    assert caller.key == "oidc/anna"
    assert "no name" in refused(tokens, token(issuer, email="a\nb"))
    nothing = found(tokens, token(issuer, email="x", realm_access="read"))
    assert isinstance(nothing, Caller)
    assert nothing.scopes == frozenset()


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({"iss": "https://other.example"}, "issuer"),
        ({"aud": "another-service"}, "[Aa]udience"),
        ({"exp": -60}, "expired"),
        ({"nbf": 600}, "not yet valid"),
        ({"exp": None}, "exp"),
        ({"aud": None}, "aud"),
        ({"sub": None}, "sub"),
    ],
)
def test_a_token_that_is_not_for_us_or_not_for_now_is_refused(
    issuer: Issuer, claims: dict[str, Any], words: str
) -> None:
    """``exp`` and ``nbf`` are seconds from now: the test may run long after it was collected."""
    now = time.time()
    moments = {name: now + value for name, value in claims.items() if isinstance(value, int)}
    why = refused(web_tokens(issuer), token(issuer, **claims | moments))
    assert re.search(words, why), why


def test_the_issuers_clock_may_be_a_little_off(issuer: Issuer) -> None:
    late = token(issuer, exp=time.time() - 60)
    assert isinstance(found(web_tokens(issuer, oidc_leeway_s=300), late), Caller)
    assert "expired" in refused(web_tokens(issuer, oidc_leeway_s=30), late)


def _part(content: dict[str, Any]) -> bytes:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=")


def test_no_signature_and_our_public_key_as_a_shared_secret_are_refused(issuer: Issuer) -> None:
    tokens = web_tokens(issuer)
    claims = jwt.decode(token(issuer), options={"verify_signature": False})
    unsigned = b".".join([_part({"alg": "none", "kid": "r"}), _part(claims), b""]).decode()
    assert "'none'" in refused(tokens, unsigned)
    public = _RSA.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    body = b".".join([_part({"alg": "HS256", "kid": "r"}), _part(claims)])
    mac = base64.urlsafe_b64encode(hmac.digest(public, body, hashlib.sha256)).rstrip(b"=")
    assert "'HS256'" in refused(tokens, b".".join([body, mac]).decode())
    foreign = rsa.generate_private_key(65537, 2048)
    assert "Signature" in refused(tokens, token(issuer, foreign))
    assert "no key" in refused(tokens, token(issuer, _EC, "r", "ES256"))
    head, content, signature = token(issuer).split(".")
    changed = _part(claims | {"sub": "root"}).decode()
    assert "Signature" in refused(tokens, f"{head}.{changed}.{signature}")
    assert found(tokens, f"{head}.{content}.{signature}") != ""
    assert "not a JWT" in refused(tokens, "a.b.c")


def test_a_new_key_is_fetched_once_and_made_up_key_ids_do_not_make_us_ask_again(
    issuer: Issuer,
) -> None:
    clock = Clock()
    tokens = web_tokens(issuer, clock)
    assert isinstance(found(tokens, token(issuer)), Caller)
    fresh = ec.generate_private_key(ec.SECP256R1())
    issuer.keys = [_jwk("new", fresh)]
    assert "no key" in refused(tokens, token(issuer, fresh, "new", "ES256")), "asked just now"
    clock.now += 31
    assert isinstance(found(tokens, token(issuer, fresh, "new", "ES256")), Caller)
    assert "no key" in refused(tokens, token(issuer)), "the old key was withdrawn"
    asked = issuer.asked
    for number in range(50):
        assert "no key" in refused(tokens, token(issuer, kid=f"made-up-{number}"))
    assert issuer.asked == asked


def test_known_keys_go_on_while_the_issuer_is_away_and_without_any_it_is_said(
    issuer: Issuer,
) -> None:
    clock = Clock()
    tokens = web_tokens(issuer, clock)
    assert isinstance(found(tokens, token(issuer)), Caller)
    issuer.away = True
    clock.now += 3_600
    assert isinstance(found(tokens, token(issuer)), Caller)
    with pytest.raises(ServerUnavailable, match=r"cannot be fetched .*503"):
        found(web_tokens(issuer), token(issuer))


def test_a_discovery_document_of_another_issuer_is_not_believed(issuer: Issuer) -> None:
    issuer.named = "https://other.example"
    with pytest.raises(ServerUnavailable, match=r"of issuer 'https://other\.example'"):
        found(web_tokens(issuer), token(issuer))


def test_keys_that_are_not_for_signatures_are_no_keys(issuer: Issuer) -> None:
    secret = {"kty": "oct", "k": "c2VjcmV0", "kid": "s"}
    issuer.keys = [secret, _jwk("r", _RSA) | {"use": "enc"}, {"kty": "RSA", "kid": "broken"}]
    assert "no key" in refused(web_tokens(issuer), token(issuer))


def test_settings_that_would_take_any_services_tokens_are_refused(issuer: Issuer) -> None:
    with pytest.raises(ConfigurationError, match="OIDC_AUDIENCE"):
        web_tokens(issuer, oidc_audience=None)
    with pytest.raises(ConfigurationError, match="'boss=all'"):
        parse_scopes("read=read,boss=all")
    with pytest.raises(ValueError, match="https"):
        AccessSettings(oidc_issuer="http://127.0.0.1.evil.example")
