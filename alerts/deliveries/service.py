"""The process `civicstream deliver`: a thread for each receiver, and the ledger."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Iterable

from alerts.deliveries.channels.email import PostOffice
from alerts.deliveries.citizen_senders import CitizenSenders
from alerts.deliveries.citizens import NAME as CITIZENS
from alerts.deliveries.citizens import CitizenNews
from alerts.deliveries.dead_letters_out import DeadLettersOut
from alerts.deliveries.delivery import Delivery
from alerts.deliveries.figures import Figures
from alerts.deliveries.log_reader import LogReader
from alerts.deliveries.people import People
from alerts.deliveries.receivers import Context, Receiver, Sender
from alerts.deliveries.receivers_file import DeliveryPlan, read_plan
from civicstream.clock import wall_ms
from civicstream.errors import ConfigurationError
from civicstream.events import LedgerReport, ReadPosition, ReadSequence
from civicstream.kafka.clients import wait_for_kafka
from civicstream.kafka.transactional import Outgoing, TransactionalSender
from civicstream.personal import PrivateKeys
from civicstream.retry import wait_until_available
from civicstream.settings import Settings
from civicstream.stopping import stop_on_signals
from civicstream.topics import topic_name

__all__ = ["run"]

log = logging.getLogger(__name__)

_REPORT_S = 1.0


def run(settings: Settings, stop: threading.Event | None = None) -> None:
    """Deliver until ``stop`` is set (default: SIGINT or SIGTERM).

    Raise ConfigurationError before anything is sent when the receivers' file is wrong.
    """
    until = stop or stop_on_signals()
    plan = _plan(settings)
    senders = [(receiver, _sender(receiver, plan, settings)) for receiver in plan.receivers]
    citizens = _citizen_senders(plan, settings)
    out = _obtain(settings, until)
    if out is None:
        return
    deliveries: list[Delivery | CitizenNews] = [
        _delivery(receiver, sender, settings, out, until) for receiver, sender in senders
    ]
    if citizens is not None:
        deliveries.append(_citizen_news(citizens, plan, settings, out, until))
    for delivery in deliveries:
        delivery.start()
    log.info("receivers: %s", ", ".join(r.name for r in plan.receivers) or "none")
    epoch = wall_ms()
    try:
        while not until.wait(_REPORT_S):
            out.report(_report(settings, epoch, (d.figures for d in deliveries)))
            _check_alive(deliveries)
    finally:
        until.set()
        for delivery in deliveries:
            delivery.join()
        out.report(_report(settings, epoch, (d.figures for d in deliveries)), last=True)
        out.close()


def _plan(settings: Settings) -> DeliveryPlan:
    if settings.deliver.receivers_file is None:
        raise ConfigurationError(
            "nobody is named who could get alerts; set CIVICSTREAM_DELIVER__RECEIVERS_FILE, "
            "an example is deploy/receivers.toml"
        )
    return read_plan(settings.deliver.receivers_file)


def _sender(receiver: Receiver, plan: DeliveryPlan, settings: Settings) -> Sender:
    """Return what sends to the receiver; raise ConfigurationError that names it."""
    try:
        return receiver.open(Context(settings, plan.mail, wall_ms))
    except ConfigurationError as error:
        raise ConfigurationError(f"receiver {receiver.name!r}: {error}") from error


def _obtain(settings: Settings, stop: threading.Event) -> DeadLettersOut | None:
    """Return the producer once Kafka answers; None when stopped before."""
    wait_for_kafka(settings.kafka, stop=stop)
    kafka = f"Kafka at {settings.kafka.bootstrap}"
    return wait_until_available(lambda: DeadLettersOut(settings), kafka, log=log, stop=stop)


def _delivery(
    receiver: Receiver,
    sender: Sender,
    settings: Settings,
    out: DeadLettersOut,
    stop: threading.Event,
) -> Delivery:
    def open_reader() -> LogReader:
        topic = topic_name(settings.kafka.topic_prefix, "alerts")
        return LogReader(settings.kafka, topic, f"civicstream-deliver-{receiver.name}", stop)

    dead_letter: Callable[..., Outgoing] = functools.partial(out.dead_letter, receiver.name)
    outlet = TransactionalSender(settings.kafka, f"deliver-{receiver.name}", receiver.timeout_s)
    prefix = settings.kafka.topic_prefix
    return Delivery(
        receiver=receiver,
        sender=sender,
        open_reader=open_reader,
        dead_letter=dead_letter,
        outlet=outlet,
        prefix=prefix,
        stop=stop,
    )


def _citizen_senders(plan: DeliveryPlan, settings: Settings) -> CitizenSenders | None:
    if plan.citizens is None:
        return None
    try:
        PrivateKeys.from_settings(settings.privacy)
        office = PostOffice(plan.mail, plan.citizens.timeout_s) if plan.mail else None
        return CitizenSenders(plan.citizens, office, settings.deliver.public_url, wall_ms)
    except ConfigurationError as error:
        raise ConfigurationError(f"[citizens]: {error}") from error


def _citizen_news(
    senders: CitizenSenders,
    plan: DeliveryPlan,
    settings: Settings,
    out: DeadLettersOut,
    stop: threading.Event,
) -> CitizenNews:
    def open_reader() -> LogReader:
        topic = topic_name(settings.kafka.topic_prefix, "cases")
        return LogReader(settings.kafka, topic, f"civicstream-deliver-{CITIZENS}", stop)

    assert plan.citizens is not None  # noqa: S101 there are no senders without it
    database = settings.database
    people = People(database.private_url or database.owner_url or database.url)
    give_up: Callable[..., None] = functools.partial(out.give_up, CITIZENS)
    keys = PrivateKeys.from_settings(settings.privacy)
    patience_s = plan.citizens.give_up_after_s
    prefix = settings.kafka.topic_prefix
    return CitizenNews(
        people=people,
        keys=keys,
        senders=senders,
        open_reader=open_reader,
        give_up=give_up,
        keep=out.publish,
        prefix=prefix,
        stop=stop,
        patience_s=patience_s,
    )


def _report(settings: Settings, epoch: int, figures: Iterable[Figures]) -> LedgerReport:
    at = wall_ms()
    gauges: dict[str, float] = {}
    read: list[ReadSequence] = []
    read_to: list[ReadPosition] = []
    for one in figures:
        gauges |= one.gauges(at)
        if one.ready and one.read is not None:
            sequences, position = one.read
            read += sequences
            read_to.append(position)
    own = (settings.deliver.id, epoch, at)
    return LedgerReport("deliver", *own, {}, gauges, read=read, read_to=read_to)


def _check_alive(deliveries: Iterable[threading.Thread]) -> None:
    """Raise when a receiver's thread has ended by a defect: a restart takes it up again."""
    for delivery in deliveries:
        if not delivery.is_alive():
            raise RuntimeError(f"{delivery.name} has ended; see the traceback above")
