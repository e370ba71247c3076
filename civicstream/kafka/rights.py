"""What each part may do on Kafka: the declaration, and the ACLs that grant it.

Everybody else may do nothing (StandardAuthorizer, denied by default). Each part has a principal of
its own, named below the topic prefix as topics, consumer groups and transactional ids are, so
that two cities on one Kafka never meet. ``init`` itself is a super user of the brokers.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from kafka import KafkaAdminClient
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
    UserScramCredentialUpsertion,
)
from kafka.errors import KafkaError

from civicstream.errors import ConfigurationError
from civicstream.kafka.clients import admin_client
from civicstream.settings import Settings
from civicstream.topics import TOPICS

__all__ = ["MECHANISM", "RIGHTS", "Rights", "acls_of", "grant_rights", "password_file", "topics_of"]

MECHANISM = "SCRAM-SHA-512"

_FRAMES = "frames.*"
"""``….*`` stands for all topics that begin so, also for kinds that come later."""


@dataclass(frozen=True)
class Rights:
    """Topics without prefix. Who reads or writes may describe too."""

    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    groups: Callable[[Settings], str] | None = None
    """How the names of its consumer groups begin."""
    transactions: tuple[str, ...] = ()
    """How its transactional ids begin: nobody else can fence its producers."""


# What devices, citizens and operators say; the worker reads it and makes up none of it.
_SAID = ("reports", "units", "actions", "crew_actions")
_STATE = ("state.frames", "state.network", "state.dispatch")
# What comes of it and is shown and kept.
_SHOWN = (
    "results.traffic",
    "results.environment",
    "incidents",
    "forecasts",
    "health",
    "anomalies",
    "cases",
    "demand",
    "allocations",
)
_STORED = (*_SHOWN, "bins", "parking", "tours")
# Every part reports its counts, and reads them in its health check.
_COMMON = ("deadletter", "ledger")

RIGHTS: dict[str, Rights] = {
    "gateway": Rights(
        reads=("parked", "ledger"),
        writes=(_FRAMES, "reports", "private", "units", "crew_actions", "parked", *_COMMON),
        # Where it goes on reading what it has parked.
        groups=lambda _: "civicstream-parked-",
    ),
    "worker": Rights(
        reads=(_FRAMES, *_STATE, *_SAID, "incidents", "anomalies", "network", "levels", "ledger"),
        writes=(*_STATE, *_STORED, "network", "levels", "late", "gaps", *_COMMON),
        groups=lambda settings: settings.worker.app,
        transactions=("frames-", "network-", "dispatch-"),
    ),
    "sink": Rights(
        reads=(
            _FRAMES,
            *_SAID,
            *_STORED,
            "late",
            "private",
            "alerts",
            "gaps",
            *_COMMON,
            # Beside it runs `ledger`, which looks at what waits for the other readers.
            "network",
            "levels",
        ),
        writes=("gaps", *_COMMON),
        groups=lambda settings: settings.sink.group,
    ),
    "feeds": Rights(
        reads=(*_SHOWN, "units", "alerts", "ledger"),
        writes=("reports", "private", "actions", *_COMMON),
    ),
    "alerts": Rights(
        reads=(*_SHOWN, "actions", "gaps", "alerts", "state.alerts", "ledger"),
        writes=("alerts", "state.alerts", "gaps", *_COMMON),
        groups=lambda settings: settings.alerts.group,
        transactions=("alerts",),
    ),
    "deliver": Rights(
        reads=("alerts", "cases", "state.deliver", "ledger"),
        writes=("state.deliver", "gaps", *_COMMON),
        groups=lambda _: "civicstream-deliver",
        transactions=("deliver-",),
    ),
    # `forget` erases a person by a null record; what is sealed there it need not see.
    "forget": Rights(writes=("private",)),
    # People who look: `tail`, `ledger`, the simulator's crews.
    "reader": Rights(
        reads=tuple(n for n in TOPICS if n != "private" and not n.startswith("state."))
    ),
}


def topics_of(part: str) -> list[str]:
    """Return the declared topics, without prefix, that the part reads or writes."""
    rights = RIGHTS[part]
    return [n for n in TOPICS if any(_covers(name, n) for name in rights.reads + rights.writes)]


def _covers(name: str, topic: str) -> bool:
    return topic.startswith(name[:-1]) if name.endswith("*") else topic == name


def acls_of(settings: Settings, part: str) -> set[ACL]:
    """Return what the part is allowed, as Kafka's ACLs."""
    rights, scoped = RIGHTS[part], settings.kafka.scoped
    principal = f"User:{scoped(part)}"
    found = set()
    for names, operation in ((rights.reads, ACLOperation.READ), (rights.writes, _WRITE)):
        found |= {_acl(principal, operation, _topic(scoped(name))) for name in names}
    if rights.groups:
        group = scoped(rights.groups(settings))
        found.add(_acl(principal, ACLOperation.READ, _prefixed(ResourceType.GROUP, group)))
    for start in rights.transactions:
        ids = _prefixed(ResourceType.TRANSACTIONAL_ID, scoped(start))
        found.add(_acl(principal, _WRITE, ids))
    return found


_WRITE = ACLOperation.WRITE


def _topic(name: str) -> ResourcePattern:
    if name.endswith("*"):
        return _prefixed(ResourceType.TOPIC, name[:-1])
    return ResourcePattern(ResourceType.TOPIC, name)


def _prefixed(kind: ResourceType, start: str) -> ResourcePattern:
    return ResourcePattern(kind, start, ACLResourcePatternType.PREFIXED)


def _acl(principal: str, operation: ACLOperation, pattern: ResourcePattern) -> ACL:
    return ACL(principal, "*", operation, ACLPermissionType.ALLOW, pattern)


def grant_rights(settings: Settings) -> list[str]:
    """Give every part its account and exactly its rights; return the names of the accounts.

    Passwords are those in ``kafka.passwords_dir``; missing ones are made there. Rights that the
    declaration does not know (any more) are taken away. Raise ConfigurationError when the account
    of `init` may not do that, or the brokers have no authorizer.
    """
    users = {part: settings.kafka.scoped(part) for part in RIGHTS}
    passwords = {part: _password(settings.kafka.passwords_dir, part) for part in RIGHTS}
    admin = admin_client(settings.kafka)
    try:
        _set_passwords(admin, {users[part]: passwords[part] for part in RIGHTS})
        for part in RIGHTS:
            _set_acls(admin, f"User:{users[part]}", acls_of(settings, part))
    except KafkaError as error:
        raise ConfigurationError(
            f"Kafka at {settings.kafka.bootstrap} does not set accounts and rights: {error!r}; "
            "it needs authorizer.class.name=org.apache.kafka.metadata.authorizer."
            "StandardAuthorizer, and this account (CIVICSTREAM_KAFKA__USERNAME) in super.users"
        ) from error
    finally:
        admin.close()
    return list(users.values())


def password_file(folder: Path, part: str) -> Path:
    """Return the file with the part's password."""
    return folder / f"kafka_{part}_password"


def _password(folder: Path, part: str) -> str:
    file = password_file(folder, part)
    try:
        if not file.exists():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as out:
                out.write(secrets.token_urlsafe(24))
        password = file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigurationError(
            f"the password of Kafka's account for {part} in {file}: {error.strerror}; "
            "CIVICSTREAM_KAFKA__PASSWORDS_DIR names the folder"
        ) from error
    if len(password) < 16:
        raise ConfigurationError(
            f"{file} holds fewer than 16 characters; delete it and run init again"
        )
    return password


def _set_passwords(admin: KafkaAdminClient, passwords: dict[str, str]) -> None:
    outcome = admin.alter_user_scram_credentials(
        [UserScramCredentialUpsertion(user, MECHANISM, text) for user, text in passwords.items()]
    )
    for user, problem in outcome.items():
        if problem is not None:
            raise ConfigurationError(f"Kafka does not set the password of {user}: {problem}")


def _set_acls(admin: KafkaAdminClient, principal: str, wanted: set[ACL]) -> None:
    held = set(admin.describe_acls(_all_of(principal))[0])
    if missing := sorted(wanted - held, key=repr):
        _raise_first(admin.create_acls(missing)["failed"])
    if surplus := sorted(held - wanted, key=repr):
        found = admin.delete_acls([_exactly(acl) for acl in surplus])
        _raise_first(error for _, _, error in found)


def _raise_first(errors: Iterable[type[KafkaError]]) -> None:
    for error in errors:
        if error.errno:
            raise error


def _all_of(principal: str) -> ACLFilter:
    pattern = ResourcePatternFilter(ResourceType.ANY, None, ACLResourcePatternType.ANY)
    return ACLFilter(principal, None, ACLOperation.ANY, ACLPermissionType.ANY, pattern)


def _exactly(acl: ACL) -> ACLFilter:
    return ACLFilter(
        acl.principal, acl.host, acl.operation, acl.permission_type, acl.resource_pattern
    )
