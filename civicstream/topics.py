"""Every Kafka topic and MQTT topic of the system, declared once."""

from __future__ import annotations

from dataclasses import dataclass

from civicstream.kinds import KINDS

__all__ = ["TOPICS", "MqttTopic", "Topic", "frames_topic", "parse_mqtt_topic", "topic_name"]

_MINUTE_MS = 60_000
_HOUR_MS = 60 * _MINUTE_MS
_DAY_MS = 24 * _HOUR_MS

_COLUMNS_BYTES = 4 * 1_048_576
"""Of a record with columns or rows of many sensors or segments: a batch of its own."""


# The active segment is never compacted, and a key's old values stay until the cleaner comes by:
# both are read at every start of the task. Deletions stay known for longer than a reading takes.
_STATE_CONFIG = {
    "cleanup.policy": "compact",
    "segment.bytes": str(16 * 1024 * 1024),
    "segment.ms": "600000",
    "min.cleanable.dirty.ratio": "0.2",
    "delete.retention.ms": str(_HOUR_MS),
}


@dataclass(frozen=True)
class Topic:
    """A Kafka topic: ``name`` without the prefix; ``partitions`` None means the setting's."""

    name: str
    holds: str
    partitions: int | None = None
    retention_ms: int = 7 * _DAY_MS
    compacted: bool = False
    state: bool = False
    """A task's state store: read to its end before the task goes on, so it has to stay small."""
    erasable_after_ms: int | None = None
    """A null record takes what came before it under its key off the topic, but not sooner."""
    max_message_bytes: int = 1_048_588
    """Of a record batch; the default is Kafka's own: 1 MiB and the batch's overhead."""
    log_weight: int = 1
    """Its share of a limit on the size of all topics together (``log_limit_mb``)."""

    @property
    def config(self) -> dict[str, str]:
        """Kafka's settings of the topic; `init` sets them and puts them right."""
        limits = {
            "max.message.bytes": str(self.max_message_bytes),
            # Whatever a producer's clock says; and readers notice by it that a log was cut.
            "message.timestamp.type": "LogAppendTime",
            # A replica that lags would take over and forget what was confirmed.
            "unclean.leader.election.enable": "false",
        }
        return limits | self._cleanup()

    def _cleanup(self) -> dict[str, str]:
        if self.state:
            return _STATE_CONFIG
        if self.compacted:
            # Only whole segments are compacted: by default one is open for a week, and whoever
            # reads the topic from its start would read every record of that week.
            return {
                "cleanup.policy": "compact",
                "segment.ms": str(5 * _MINUTE_MS),
                "min.cleanable.dirty.ratio": "0.01",
                "max.compaction.lag.ms": str(10 * _MINUTE_MS),
                "delete.retention.ms": str(_DAY_MS),
            }
        kept = {"cleanup.policy": "delete", "retention.ms": str(self.retention_ms)}
        if self.erasable_after_ms is None:
            return kept
        # Of one key only the newest record outlives a compaction, so it must wait until the sink
        # has surely read them all; the null record stays as long as anything could before it.
        return kept | {
            "cleanup.policy": "compact,delete",
            "min.compaction.lag.ms": str(self.erasable_after_ms),
            "max.compaction.lag.ms": str(self.erasable_after_ms + _DAY_MS),
            "delete.retention.ms": str(self.retention_ms),
        }


def frames_topic(kind: str) -> str:
    """Return the unprefixed frames topic of a kind."""
    return f"frames.{kind}"


_ALL = (
    # Frames only bridge the gap until the sinks have them; three days outlast a long weekend.
    *(
        Topic(
            frames_topic(kind),
            f"{kind} readings as Arrow frames",
            retention_ms=3 * _DAY_MS,
            max_message_bytes=_COLUMNS_BYTES,
            log_weight=8,
        )
        for kind in KINDS
    ),
    Topic(
        "results.traffic",
        "traffic per area and window, a row per segment",
        max_message_bytes=_COLUMNS_BYTES,
        log_weight=4,
    ),
    Topic(
        "results.environment",
        "the other kinds per area and window, a row per measure",
        max_message_bytes=_COLUMNS_BYTES,
        log_weight=4,
    ),
    # What needs neighbours in other partitions reads this: the city's traffic in one order.
    Topic(
        "network",
        "final traffic windows of all areas as Arrow columns",
        partitions=1,
        max_message_bytes=_COLUMNS_BYTES,
        log_weight=4,
    ),
    Topic("incidents", "traffic incidents, a record per version", partitions=1),
    Topic(
        "forecasts",
        "speed and flow forecasts per area, a row per segment",
        max_message_bytes=_COLUMNS_BYTES,
        log_weight=4,
    ),
    Topic("health", "changes of the sensors' health"),
    Topic("anomalies", "unusual measurements of healthy sensors, by version", partitions=1),
    # Reports and crews are few, and what they make crosses areas: one order for the whole city.
    Topic("reports", "citizens' reports", partitions=1, retention_ms=30 * _DAY_MS),
    # Apart, because their writers are: only the feeds, which know who asked, decide for the city.
    Topic("actions", "decisions of operators", partitions=1, retention_ms=30 * _DAY_MS),
    Topic(
        "crew_actions",
        "what crews did about their own tasks",
        partitions=1,
        retention_ms=30 * _DAY_MS,
    ),
    Topic("units", "place and state of crews", partitions=1),
    Topic("cases", "cases, a record per version", partitions=1, retention_ms=30 * _DAY_MS),
    Topic("demand", "what each area needs of each service", partitions=1),
    Topic(
        "allocations",
        "who is sent where, a record per version",
        partitions=1,
        retention_ms=30 * _DAY_MS,
    ),
    # As ``network`` does for traffic: the newest level of each container and car park.
    Topic(
        "levels",
        "fill levels and free spaces by window as Arrow columns",
        partitions=1,
        max_message_bytes=_COLUMNS_BYTES,
        log_weight=4,
    ),
    Topic("bins", "when each waste container will be full", partitions=1),
    Topic("parking", "free spaces of each car park ahead", partitions=1),
    Topic("tours", "tours of waste trucks, a record per version", partitions=1),
    Topic(
        "private",
        "citizens' personal data, encrypted; null: to be forgotten",
        partitions=1,
        erasable_after_ms=3 * _DAY_MS,
    ),
    # One order for the whole city here too: storms are grouped, and the newest versions read back.
    Topic("alerts", "alerts, a record per version", partitions=1, retention_ms=30 * _DAY_MS),
    Topic("gaps", "records that never came to a reader", partitions=1, retention_ms=30 * _DAY_MS),
    Topic(
        "late",
        "readings that came after their window was closed, as frames",
        max_message_bytes=_COLUMNS_BYTES,
        log_weight=4,
    ),
    # As long as the MQTT broker keeps messages for a gateway that is away.
    Topic(
        "parked",
        "what gateways could not write to its own partition, until they can",
        partitions=3,
        max_message_bytes=_COLUMNS_BYTES,
        log_weight=4,
    ),
    Topic("deadletter", "rejected payloads and their reasons", retention_ms=30 * _DAY_MS),
    # What each task of the worker remembers, written in the transactions that publish its results.
    Topic(
        "state.frames",
        "progress and sensor states of the frames' partitions",
        compacted=True,
        state=True,
    ),
    Topic("state.network", "incidents and forecasters", partitions=1, compacted=True, state=True),
    Topic(
        "state.dispatch",
        "cases, crews, demand and allocations",
        partitions=1,
        compacted=True,
        state=True,
    ),
    Topic(
        "state.deliver",
        "which log each receiver's offset is of",
        partitions=1,
        compacted=True,
        state=True,
    ),
    Topic(
        "state.alerts",
        "alerts, and what their rules remember",
        partitions=1,
        compacted=True,
        state=True,
    ),
    Topic("ledger", "cumulative counts of every stage", partitions=1, compacted=True),
)

TOPICS: dict[str, Topic] = {topic.name: topic for topic in _ALL}


def topic_name(prefix: str, name: str) -> str:
    """Return the Kafka name of a declared topic; KeyError for one that is not declared."""
    return f"{prefix}.{TOPICS[name].name}"


@dataclass(frozen=True)
class MqttTopic:
    """The parts of ``<root>/<kind>/<area>/<sensor>``."""

    kind: str
    area: str
    sensor: str


def parse_mqtt_topic(topic: str, root: str) -> MqttTopic | None:
    """Return the parts of a topic under ``root``, or None when it has another shape."""
    if not topic.startswith(root + "/"):
        return None
    parts = topic[len(root) + 1 :].split("/")
    if len(parts) != 3 or not all(parts):
        return None
    return MqttTopic(*parts)
