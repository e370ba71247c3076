"""Takes a posted report in: checks, rate limit, counts, and on to Kafka."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import msgspec

from civicstream.cloudevents import cloud_headers
from civicstream.errors import RejectedReading
from civicstream.rate_limit import RateLimit
from civicstream.report_answers import require_answers
from civicstream.report_making import MadeReport, ReportMaker, Submission
from civicstream.settings import Settings
from feeds.areas import AreaFinder
from feeds.ledger import FeedsLedger
from feeds.open311.errors import Open311Error, refusal
from feeds.report_output import KafkaRecord

__all__ = ["ReportService"]

Publish = Callable[[Sequence[KafkaRecord]], Awaitable[None]]


class ReportService:
    """One for the process; ``areas`` None: every report is of the default area."""

    def __init__(
        self,
        settings: Settings,
        maker: ReportMaker,
        areas: AreaFinder | None,
        publish: Publish,
        ledger: FeedsLedger,
    ) -> None:
        self.maker = maker
        self._areas = areas
        self._default_area = settings.feeds.default_area
        self._source = f"feeds/{settings.feeds.id}"
        self._limit = RateLimit(settings.reports.per_client_10_min / 600, settings.reports.burst)
        self._publish = publish
        self._ledger = ledger

    async def take(
        self, sent: Submission, sender: str | None, *, now_ms: int, now: float
    ) -> MadeReport:
        """Return the report when Kafka has it.

        ``sender`` is whom the rate limit counts, None for the reporter; ``now`` is monotonic [s].
        Raise Open311Error for a report that is refused, ServerUnavailable while Kafka is away.
        """
        self._ledger.received += 1
        try:
            made = self._make(sent, now_ms)
            self._admit(made, sender, now)
            await self._publish(self._records(made))
        except RejectedReading as error:
            self._ledger.rejected += 1
            raise refusal(error) from None
        except BaseException:
            self._ledger.rejected += 1
            raise
        self._ledger.accepted += 1
        return made

    def _make(self, sent: Submission, now_ms: int) -> MadeReport:
        area = self._default_area
        if self._areas is not None:
            found = self._areas.find(self.maker.place(sent))
            if found is None:
                raise RejectedReading(
                    "outside_city", "lon and lat are in none of the city's districts"
                )
            area = found
        made = self.maker.make(sent, area, now_ms)
        require_answers(self.maker.service(sent.service), made.report.attributes)
        return made

    def _admit(self, made: MadeReport, sender: str | None, now: float) -> None:
        client = made.report.reporter
        if sender is not None:
            client = self.maker.privacy.pseudonym(sender)
        if self._limit.admit(client, made.report.id, now):
            return
        self._ledger.rate_limited += 1
        wait_s = self._limit.wait_s(client)
        raise Open311Error(
            429,
            f"too many reports at once; try again in {wait_s:.0f} s",
            {"Retry-After": f"{wait_s:.0f}"},
        )

    def _records(self, made: MadeReport) -> list[KafkaRecord]:
        report, personal = made.report, made.personal
        return [
            KafkaRecord(
                "reports",
                report.area.encode(),
                msgspec.json.encode(report),
                self._headers("report", report.id, report.reported_at, report.area),
            ),
            KafkaRecord(
                "private",
                personal.pseudonym.encode(),
                msgspec.json.encode(personal),
                self._headers("personal", report.id, personal.at, personal.pseudonym),
            ),
        ]

    def _headers(self, kind: str, event: str, at: int, subject: str) -> list[tuple[str, bytes]]:
        return cloud_headers(kind, source=self._source, event_id=event, time_ms=at, subject=subject)
