"""Notifies one citizen: by mail, or by a signed webhook to an address of theirs."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable, Iterable

import httpx

from alerts.deliveries.case_notices import Contact, notice_body, notice_subject, notice_text
from alerts.deliveries.channels.email import PostOffice, new_mail
from alerts.deliveries.http_answers import check_answer, http_client
from alerts.deliveries.outcomes import Refused, TryAgain
from alerts.deliveries.public_addresses import destination
from alerts.deliveries.receivers import CitizensPlan
from alerts.deliveries.signatures import delivery_id, signed_headers, signing_key
from civicstream.service_events import Case

__all__ = ["CitizenSenders", "addresses_of"]

_READ_BYTES = 1024


def addresses_of(host: str, port: int) -> Iterable[str]:
    """Return the IP addresses of a host; raise OSError when it has none."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class CitizenSenders:
    """Used by several threads at once."""

    def __init__(
        self,
        plan: CitizensPlan,
        office: PostOffice | None,
        public_url: str,
        clock: Callable[[], int],
    ) -> None:
        self._plan, self._office, self._public_url, self._clock = plan, office, public_url, clock
        self._key = signing_key(plan.secret.read())
        self._client = http_client(plan.timeout_s, plan.ca_file)

    def send(self, case: Case, contact: Contact) -> None:
        """Return when it is taken; raise Refused or TryAgain, whose words name no address."""
        if contact.way == "email":
            self._mail(case, contact)
        else:
            self._post(case, contact)

    def _mail(self, case: Case, contact: Contact) -> None:
        if self._office is None or not self._plan.mail:
            raise Refused("mails to citizens are switched off")
        domain = self._office.sender.rpartition("@")[2]
        person = hashlib.sha256(contact.address.encode()).hexdigest()[:12]
        try:
            mail = new_mail(
                self._office.sender,
                contact.address,
                notice_subject(case),
                notice_text(case, contact, self._public_url),
                self._clock(),
                f"<case-{delivery_id(case.id, case.version).replace('/', '.')}.{person}@{domain}>",
            )
        except ValueError:
            raise Refused("the mail address is malformed") from None
        if len(mail["To"].addresses) != 1 or not mail["To"].addresses[0].domain:
            raise Refused("the mail address is malformed")
        try:
            self._office.hand_in([mail], set())
        except Refused as error:
            raise Refused(f"{error}".replace(contact.address, "the address")) from None

    def _post(self, case: Case, contact: Contact) -> None:
        if not self._plan.webhooks:
            raise Refused("webhooks to citizens are switched off")
        now = self._clock()
        try:
            to = destination(
                contact.address,
                addresses_of,
                allow_http=self._plan.allow_http,
                allow_private=self._plan.allow_private_addresses,
            )
            body = notice_body(case, contact)
            signed = signed_headers(
                body, self._key, now, delivery_id(f"case:{case.id}", case.version)
            )
            request = self._client.build_request(
                "POST", to.url, content=body, headers={**signed, "Host": to.host_header}
            )
            request.extensions["sni_hostname"] = to.host
            answer = self._client.send(request, stream=True)
            try:
                next(answer.iter_raw(_READ_BYTES), b"")
                check_answer(answer.status_code, answer.headers, "", now)
            finally:
                answer.close()
        except (httpx.HTTPError, OSError) as error:
            raise TryAgain(type(error).__name__) from error
        except (httpx.InvalidURL, UnicodeError):
            raise Refused("the address is malformed") from None

    def close(self) -> None:
        self._client.close()
