"""Where the servers of `civicstream up` are: at given addresses and ports, or at free ones."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass

from civicstream.errors import ConfigurationError
from stack.servers.processes import free_port, port_answers
from stack.up.options import StackOptions

__all__ = ["LOOPBACK", "Addresses", "choose_addresses"]

LOOPBACK = "127.0.0.1"

_PAGE_PORT = 8311


@dataclass(frozen=True)
class Addresses:
    """``database`` is None for the embedded one, which listens on ``database_port``."""

    mqtt_host: str
    mqtt_port: int
    kafka: str
    database: str | None
    database_port: int
    http_port: int


def choose_addresses(options: StackOptions) -> Addresses:
    """Return the given addresses and, for what is embedded, the given or free ports.

    Raise ConfigurationError for an address that is none, for two servers on one port, and for a
    port that another program has: before anything is started.
    """
    host, port = LOOPBACK, options.mqtt_port or free_port()
    if options.mqtt:
        host, port = _host_and_port(options.mqtt, "--mqtt")
    for server in options.kafka.split(",") if options.kafka else ():
        _host_and_port(server, "--kafka")
    if options.database and not options.database.startswith(("postgresql://", "postgres://")):
        raise ConfigurationError(
            "--database: not a URL; expected postgresql://USER:PASSWORD@HOST:PORT/NAME"
        )
    _check_ports(options)
    return Addresses(
        mqtt_host=host,
        mqtt_port=port,
        kafka=options.kafka or f"{LOOPBACK}:{options.kafka_port or free_port()}",
        database=options.database,
        database_port=options.database_port or free_port(),
        http_port=options.http_port or _page_port(),
    )


def _check_ports(options: StackOptions) -> None:
    ours = {
        "--mqtt-port": 0 if options.mqtt else options.mqtt_port,
        "--kafka-port": 0 if options.kafka else options.kafka_port,
        "--database-port": 0 if options.database else options.database_port,
        "--http-port": options.http_port,
    }
    given = {option: port for option, port in ours.items() if port}
    if len(set(given.values())) != len(given):
        raise ConfigurationError(f"ports {[*given.values()]}: each server needs its own")
    for option, port in given.items():
        if port_answers(port):
            setting = " (or CIVICSTREAM_FEEDS__PORT)" if option == "--http-port" else ""
            raise ConfigurationError(
                f"{option} {port}: another program listens on that port; give another with "
                f"{option}{setting}, or 0 for a free one"
            )


def _page_port() -> int:
    """Return the port one may keep as a bookmark, or a free one where it is taken."""
    with contextlib.suppress(OSError), socket.create_server((LOOPBACK, _PAGE_PORT)):
        return _PAGE_PORT
    return free_port()


def _host_and_port(text: str, option: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise ConfigurationError(f"{option} {text!r}: expected HOST:PORT, e.g. 127.0.0.1:1883")
    return host, int(port)
