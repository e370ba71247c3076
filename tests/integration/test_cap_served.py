"""CAP over HTTP from a real feeds process: the feed, the messages it leads to, ETags."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

import httpx
import xmlschema

from civicstream.clock import now_ms
from civicstream.settings import KafkaSettings
from tests.integration.test_sink_citizens import send
from tests.kit.deliver_runs import life_of
from tests.kit.feeds_runs import feeds
from tests.kit.sink_events import alert
from tests.kit.sink_rows import loader

ATOM = "{http://www.w3.org/2005/Atom}"
CAP = "{urn:oasis:names:tc:emergency:cap:1.2}"
SCHEMA: Any = xmlschema.XMLSchema(Path(__file__).parents[1] / "data" / "cap-1.2.xsd")


def test_the_feed_leads_to_valid_messages_of_what_is_active_or_was_until_a_day_ago(
    kafka: KafkaSettings, postgres: str, tmp_path: Path
) -> None:
    now = now_ms()
    long_ago = now - 25 * 3_600_000
    times = {"updated_at": now, "computed_at": now}
    with loader(postgres) as loaded:
        over = life_of("over")
        old = alert(id="old", state="cleared", change="cleared", version=2, updated_at=long_ago)
        odd = alert(id="odd/%+ ü", headline="5 < 6 & 7", **times)
        child = alert(id="child", parent="over", **times)
        send(loaded, "alerts", *over, odd, child, alert(id="old", updated_at=long_ago), old)
        with feeds(kafka, postgres, tmp_path) as front:
            base = front.url.removesuffix("/open311/v2")
            with httpx.Client(base_url=base, trust_env=False, timeout=30) as client:
                answer = client.get("/cap/alerts.atom")
                assert answer.headers["content-type"].startswith("application/atom+xml")
                entries = _parsed(answer).findall(f"{ATOM}entry")
                assert {e.findtext(f"{ATOM}title") for e in entries} == {
                    "Queue on Long Road",
                    "5 < 6 & 7",
                }
                found = {}
                for entry in entries:
                    link = entry.find(f"{ATOM}link")
                    assert link is not None
                    message = client.get(urlsplit(link.get("href", "")).path)
                    assert message.headers["content-type"].startswith("application/cap+xml")
                    SCHEMA.validate(message.text)
                    root = _parsed(message)
                    found[root.findtext(f"{CAP}identifier")] = root.findtext(f"{CAP}msgType")
                assert found == {"odd%2F%25%2B%20%C3%BC.1": "Alert", "over.3": "Cancel"}
                first = client.get("/cap/alerts/over.1.xml")
                assert _parsed(first).findtext(f"{CAP}msgType") == "Alert"
                _check_etag(client, "/cap/alerts.atom")
                _check_etag(client, "/cap/alerts/over.1.xml")
                etag = answer.headers["etag"]
                send(loaded, "alerts", alert(id="new", **times))
                again = client.get("/cap/alerts.atom", headers={"if-none-match": etag})
                assert again.status_code == 200
                for missing in ("over.2", "over.9", "child.1", "nobody.1", "over", "a%00b.1"):
                    refused = client.get(f"/cap/alerts/{missing}.xml")
                    assert refused.status_code == 404, missing
                    assert refused.headers["content-type"] == "application/problem+json"


def _parsed(answer: httpx.Response) -> ElementTree.Element:
    assert answer.status_code == 200, answer.text
    return ElementTree.fromstring(answer.content)  # noqa: S314 our own answer


def _check_etag(client: httpx.Client, path: str) -> None:
    etag = client.get(path).headers["etag"]
    again = client.get(path, headers={"if-none-match": etag})
    assert (again.status_code, again.content) == (304, b"")
