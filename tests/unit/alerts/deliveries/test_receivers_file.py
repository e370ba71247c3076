"""The receivers' file: the example is good, and every fault is named by receiver and field."""

from __future__ import annotations

from pathlib import Path

import pytest

from alerts.deliveries.channels.alertmanager import AlertmanagerReceiver
from alerts.deliveries.channels.email import EmailReceiver
from alerts.deliveries.channels.kafka_topic import KafkaReceiver
from alerts.deliveries.channels.mqtt_topics import MqttReceiver
from alerts.deliveries.channels.webhook import WebhookReceiver
from alerts.deliveries.receivers import SecretText
from alerts.deliveries.receivers_file import read_plan
from civicstream.errors import ConfigurationError

EXAMPLE = Path(__file__).parents[4] / "deploy" / "receivers.toml"


def test_the_example_declares_one_of_each_type() -> None:
    plan = read_plan(EXAMPLE)
    assert {type(receiver) for receiver in plan.receivers} == {
        KafkaReceiver,
        MqttReceiver,
        WebhookReceiver,
        AlertmanagerReceiver,
        EmailReceiver,
    }
    assert plan.mail is not None
    assert plan.citizens is not None


WEBHOOK = 'name = "ops"\ntype = "webhook"\nsecret = {env = "S"}\n'
FAULTS = {
    "not TOML": "receiver = [",
    "no such table `recievers`": "[[recievers]]",
    "[[receiver]], with two brackets": '[receiver]\nname = "a"',
    "receiver 1 'ops': Object missing required field `url`": f"[[receiver]]\n{WEBHOOK}",
    "receiver 1 'ops': url must be an http": f'[[receiver]]\n{WEBHOOK}url = "ftp://x"',
    "receiver 1 'ops': object contains unknown field `colour`": f'[[receiver]]\n{WEBHOOK}url="http://x"\ncolour=1',
    "receiver 1 'a': type: Invalid value 'fax'": '[[receiver]]\nname = "a"\ntype = "fax"',
    "min_severity: Invalid enum value 'high'": f'[[receiver]]\n{WEBHOOK}url = "http://x"\n'
    'min_severity = "high"',
    "on[0]: Invalid enum value 'ended'": f'[[receiver]]\n{WEBHOOK}url = "http://x"\non = ["ended"]',
    "a secret is either": '[[receiver]]\nname="a"\ntype="webhook"\nurl="http://x"\nsecret={}',
    "secret: Expected `object`, got `str`": '[[receiver]]\nname="a"\ntype="webhook"\n'
    'url="http://x"\nsecret="in clear"',
    "on must name `cleared`": '[[receiver]]\nname = "b"\ntype = "mqtt"\non = ["raised"]',
    "the name is used twice": '[[receiver]]\nname = "b"\ntype = "mqtt"\n' * 2,
    "needs the table [smtp]": '[[receiver]]\nname = "b"\ntype = "email"\nto = ["a@b.example"]',
    "to[0]: Expected `str` matching": '[[receiver]]\nname = "b"\ntype = "email"\n'
    'to = ["a@b.example\\r\\nBcc: x@y.example"]',
    "[smtp]: username and password": '[smtp]\nhost = "h"\nsender = "a@b.example"\nusername = "u"',
    "resolve_after_s must be at least twice": '[[receiver]]\nname = "b"\ntype = "alertmanager"\n'
    'url = "http://x"\nresend_s = 60\nresolve_after_s = 90',
}


@pytest.mark.parametrize("expected", FAULTS)
def test_a_fault_is_named_by_receiver_and_field(expected: str, tmp_path: Path) -> None:
    file = tmp_path / "receivers.toml"
    file.write_text(FAULTS[expected], encoding="utf-8")
    with pytest.raises(ConfigurationError) as raised:
        read_plan(file)
    assert expected.lower() in str(raised.value).lower()
    assert str(file) in str(raised.value)


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "receivers.toml"
    file.write_text('[[receiver]]\nname="a"\ntype="fax"\n[[receiver]]\nname="b"\ntype="telex"\n')
    with pytest.raises(ConfigurationError, match=r"receiver 1 'a'.*receiver 2 'b'"):
        read_plan(file)
    with pytest.raises(ConfigurationError, match="RECEIVERS_FILE"):
        read_plan(tmp_path / "absent.toml")


def test_secrets_come_from_the_environment_or_a_file_and_never_empty(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from a file\n")
    (tmp_path / "empty").write_text("\n")
    assert SecretText(env="S").read({"S": "from the environment"}) == "from the environment"
    assert SecretText(file=str(tmp_path / "secret")).read() == "from a file"
    for missing in (SecretText(env="S"), SecretText(file=str(tmp_path / "empty"))):
        with pytest.raises(ConfigurationError):
            missing.read({})
    with pytest.raises(ConfigurationError, match="absent"):
        SecretText(file=str(tmp_path / "absent")).read()
