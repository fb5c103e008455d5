"""Where notices go: webhooks, with generic JSON or in Slack's format, and mail addresses.

The standard library sends them: httpx writes the whole address of each request into the log, and
that of a webhook is a secret.
"""

import base64
import json
import smtplib
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import wait
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit, urlunsplit

from assets.methods.common.parallel import in_thread
from orchestration.notices.notice import Notice
from orchestration.notices.settings import MailServer, NoticeSettings

_GOODBYE_SECONDS = 0.5


class NotDeliveredError(Exception):
    """A receiver did not take a notice. The message says why, without the receiver's address."""


class Receiver(Protocol):
    """Somebody who is told."""

    @property
    def name(self) -> str:
        """Its name in logs and in the state, which tells nothing of its address."""

    def send(self, notice: Notice, seconds: float) -> None:
        """Deliver a notice; raises NotDeliveredError if it is not known to have been taken."""


@dataclass(frozen=True)
class Webhook:
    """An address that takes JSON by POST."""

    name: str
    address: str = field(repr=False)
    body: Callable[[Notice], dict[str, Any]] = Notice.as_json
    token: str = field(default="", repr=False)

    def send(self, notice: Notice, seconds: float) -> None:
        """Post a notice; raises NotDeliveredError."""
        within(seconds, lambda: self._post(notice, seconds))

    def _post(self, notice: Notice, seconds: float) -> None:
        address, authorization = _without_user(self.address)
        if self.token:
            authorization = f"Bearer {self.token}"
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "tessera",
            "Idempotency-Key": notice.id,
            **({"Authorization": authorization} if authorization else {}),
        }
        body = json.dumps(self.body(notice)).encode()
        request = urllib.request.Request(address, body, headers, method="POST")  # noqa: S310
        opener = urllib.request.build_opener(_NoRedirect)
        try:
            with opener.open(request, timeout=seconds):
                return
        except urllib.error.HTTPError as error:
            error.close()
            raise NotDeliveredError(f"it answered with the status {error.code}") from None
        except urllib.error.URLError as error:
            raise NotDeliveredError(_why(error.reason)) from None


@dataclass(frozen=True)
class Mailbox:
    """One mail address, and the server that takes mails to it."""

    name: str
    address: str
    server: MailServer

    def send(self, notice: Notice, seconds: float) -> None:
        """Send a notice as a mail; raises NotDeliveredError."""
        within(seconds, lambda: self._send(notice, seconds))

    def _send(self, notice: Notice, seconds: float) -> None:
        server = self.server
        mail = notice.as_mail(server.sender, self.address)
        trusted = ssl.create_default_context()
        connection: smtplib.SMTP
        if server.security == "tls":
            connection = smtplib.SMTP_SSL(
                server.host, server.port, timeout=seconds, context=trusted
            )
        else:
            connection = smtplib.SMTP(server.host, server.port, timeout=seconds)
        try:
            if server.security == "starttls":
                connection.starttls(context=trusted)
            if server.user:
                connection.login(server.user, server.password)
            connection.send_message(mail)
            # It is taken. A server that does not say goodbye must not get it a second time.
            with suppress(Exception):
                if connection.sock is not None:
                    connection.sock.settimeout(_GOODBYE_SECONDS)
                connection.quit()
        finally:
            connection.close()


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: it would lead to an address that nobody has set, by GET."""

    def redirect_request(self, *arguments: Any, **options: Any) -> None:
        """Return that there is no other request; the answer becomes an error."""


def receivers_of(settings: NoticeSettings) -> list[Receiver]:
    """Return everybody who is told, by the settings.

    They are named by their place there, so that one whose address is corrected gets what it missed.
    """
    server = settings.mail_server
    return [
        *(
            Webhook(_numbered("webhook", number), address, token=settings.webhook_token)
            for number, address in enumerate(settings.webhooks)
        ),
        *(
            Webhook(_numbered("slack", number), address, Notice.as_slack)
            for number, address in enumerate(settings.slack)
        ),
        *(
            Mailbox(_numbered("mail", number), address, server)
            for number, address in enumerate(settings.mail_to)
            if server is not None
        ),
    ]


def within(seconds: float, call: Callable[[], None]) -> None:
    """Call something that may hang, even with an answer that comes byte by byte.

    Raises NotDeliveredError when it takes longer than so many seconds, or fails.
    """
    future = in_thread(call)
    wait([future], seconds)
    if not future.done():
        raise NotDeliveredError(f"it did not answer within {seconds:g} s")
    try:
        future.result()
    except NotDeliveredError:
        raise
    except Exception as error:
        # The libraries have many kinds, and their messages may repeat what was sent.
        raise NotDeliveredError(_why(error)) from None


def _numbered(name: str, number: int) -> str:
    return name if number == 0 else f"{name}-{number + 1}"


def _why(error: object) -> str:
    """Return why nothing was delivered, from a library's error, without its message."""
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return f"it did not accept the user and the password ({error.smtp_code})"
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        codes = sorted({code for code, _ in error.recipients.values()})
        return f"it refused the address ({', '.join(map(str, codes))})"
    if isinstance(error, smtplib.SMTPResponseException):
        return f"it answered with {error.smtp_code}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return "its certificate is not valid"
    if isinstance(error, OSError) and error.strerror:
        return f"it cannot be reached ({error.strerror})"
    return f"it cannot be reached ({type(error).__name__})"


def _without_user(address: str) -> tuple[str, str]:
    """Return an address without user and password, and the header that stands for them."""
    parts = urlsplit(address)
    user, at, host = parts.netloc.rpartition("@")
    if not at:
        return address, ""
    name, _, password = user.partition(":")
    pair = f"{unquote(name)}:{unquote(password)}".encode()
    return urlunsplit(parts._replace(netloc=host)), f"Basic {base64.b64encode(pair).decode()}"
