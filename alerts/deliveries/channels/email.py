"""Alerts as mails, by SMTP."""

from __future__ import annotations

import smtplib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Annotated, ClassVar
from urllib.parse import quote

from msgspec import Meta

from alerts.deliveries.alert_texts import mail_subject, mail_text, one_line
from alerts.deliveries.http_answers import tls_context
from alerts.deliveries.outcomes import Refused, TryAgain
from alerts.deliveries.receivers import (
    Address,
    Context,
    MailServer,
    Receiver,
    Sender,
)
from civicstream.events import Alert, AlertChange

__all__ = ["EmailReceiver", "Mail", "PostOffice", "alert_mail", "new_mail"]


class EmailReceiver(Receiver, frozen=True, kw_only=True, tag="email"):
    """A mail to each of ``to`` through the server of the table ``[smtp]``."""

    to: Annotated[list[Address], Meta(min_length=1, max_length=50)]

    usual: ClassVar[tuple[AlertChange, ...]] = ("raised", "escalated", "cleared")
    for_people: ClassVar[bool] = True
    needs_mail_server: ClassVar[bool] = True

    def open(self, context: Context) -> Sender:
        assert context.mail is not None  # noqa: S101 read_plan has seen to it
        office = PostOffice(context.mail, self.timeout_s)
        return Mail(self, office, context.settings.deliver.public_url, context.clock)


def new_mail(
    sender: str, to: str, subject: str, text: str, now_ms: int, message_id: str
) -> EmailMessage:
    """Return a mail in plain text. Subjects lose line breaks, so none can add a header."""
    mail = EmailMessage(policy=SMTP)
    mail["From"] = sender
    mail["To"] = to
    mail["Subject"] = one_line(subject)
    mail["Date"] = format_datetime(datetime.fromtimestamp(now_ms / 1000, UTC))
    mail["Message-ID"] = message_id
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's holiday notice answers it
    mail.set_content(text)
    return mail


def alert_mail(alert: Alert, sender: str, to: str, public_url: str, now_ms: int) -> EmailMessage:
    """Return the mail of one version; all versions of an alert are one conversation."""

    def message_id(version: int) -> str:
        return f"<{quote(alert.id, safe='')}.{version}@{sender.rpartition('@')[2]}>"

    mail = new_mail(
        sender,
        to,
        mail_subject(alert),
        mail_text(alert, public_url),
        now_ms,
        message_id(alert.version),
    )
    if alert.version > 1:
        mail["In-Reply-To"] = mail["References"] = message_id(1)
    mail["X-Civicstream-Alert"] = quote(alert.id, safe="")
    return mail


class PostOffice:
    """Hands mails to the SMTP server: a connection for each batch, since alerts are rare."""

    def __init__(self, server: MailServer, timeout_s: float) -> None:
        self.sender = server.sender
        self._server, self._timeout_s = server, timeout_s
        self._password = server.password.read() if server.password else None
        self._tls = tls_context(server.ca_file) if server.security != "none" else None

    def hand_in(self, mails: Sequence[EmailMessage], done: set[str]) -> None:
        """Hand each mail in and note its ``To`` in ``done``; raise Refused or TryAgain.

        Mails whose ``To`` is in ``done`` are left out, so that trying again sends none twice.
        """
        refused = []
        try:
            with self._connect() as link:
                for number, mail in enumerate(mails, 1):
                    if mail["To"] not in done:
                        if why := _hand_in(link, mail):
                            # Dead letters are read by many: the address itself stays out of them.
                            refused.append(f"recipient {number} of {len(mails)}: {why}")
                        done.add(mail["To"])
        except smtplib.SMTPResponseException as error:
            raise TryAgain(f"SMTP {error.smtp_code} {_words(error.smtp_error)}") from error
        except (OSError, smtplib.SMTPException) as error:
            raise TryAgain(f"{type(error).__name__}: {error}") from error
        if refused:
            raise Refused("; ".join(refused))

    def _connect(self) -> smtplib.SMTP:
        server = self._server
        link: smtplib.SMTP
        if server.security == "tls":
            link = smtplib.SMTP_SSL(
                server.host, server.port, timeout=self._timeout_s, context=self._tls
            )
        else:
            link = smtplib.SMTP(server.host, server.port, timeout=self._timeout_s)
        try:
            if server.security == "starttls":
                link.starttls(context=self._tls)
            if server.username is not None and self._password is not None:
                link.login(server.username, self._password)
        except BaseException:
            link.close()
            raise
        return link


def _hand_in(link: smtplib.SMTP, mail: EmailMessage) -> str | None:
    """Return why the server refused the mail for good, None when it has taken it."""
    try:
        link.send_message(mail)
    except smtplib.SMTPRecipientsRefused as error:
        code, words = next(iter(error.recipients.values()))
        if code < 500:
            raise TryAgain(f"SMTP {code} {_words(words)}") from error
        return f"SMTP {code} {_words(words)}"
    except smtplib.SMTPDataError as error:
        if error.smtp_code < 500:
            raise
        return f"SMTP {error.smtp_code} {_words(error.smtp_error)}"
    return None


def _words(text: bytes | str) -> str:
    return one_line(text.decode(errors="replace") if isinstance(text, bytes) else text, 200)


class Mail:
    """One mail to each address of a receiver."""

    def __init__(
        self,
        receiver: EmailReceiver,
        office: PostOffice,
        public_url: str,
        clock: Callable[[], int],
    ) -> None:
        self._to, self._office = receiver.to, office
        self._public_url, self._clock = public_url, clock
        self._current = ("", 0)
        self._done: set[str] = set()
        """Who has the mail of the current version: after a failure only the others get it."""

    def send(self, alert: Alert) -> None:
        """Return when the server has taken all mails; raise Refused or TryAgain."""
        if (alert.id, alert.version) != self._current:
            self._current, self._done = (alert.id, alert.version), set()
        now, sender = self._clock(), self._office.sender
        mails = [alert_mail(alert, sender, to, self._public_url, now) for to in self._to]
        self._office.hand_in(mails, self._done)

    def close(self) -> None:
        """Nothing is kept open."""
