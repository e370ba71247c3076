"""The channels that alerts go out by: a module or folder each, known by being imported here."""

import functools
import operator
from typing import Any

from alerts.deliveries.channels import alertmanager as alertmanager
from alerts.deliveries.channels import email as email
from alerts.deliveries.channels import kafka_topic as kafka_topic
from alerts.deliveries.channels import mqtt_topics as mqtt_topics
from alerts.deliveries.channels import webhook as webhook
from alerts.deliveries.receivers import Receiver

__all__ = ["receiver_types"]


def receiver_types() -> Any:
    """Return the union of the receivers of all channels, distinguished by ``type``."""
    return functools.reduce(operator.or_, Receiver.__subclasses__())
