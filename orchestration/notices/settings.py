"""Who is told, and after how long: environment variables, because some of them are secrets."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from assets.methods.common.errors import UserError
from assets.methods.common.loopback import is_loopback

PREFIX = "TESSERA_NOTICE_"
_PORTS = {"starttls": 587, "tls": 465, "none": 25}
_ADDRESS = re.compile(r"[^\s@<>,;]+@[^\s@<>,;]+")


@dataclass(frozen=True)
class MailServer:
    """The SMTP server that takes mails; no user means that it asks for none."""

    host: str
    port: int
    security: str
    sender: str
    user: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True)
class NoticeSettings:
    """Receivers, and how long something may be wrong before it is a cause.

    A number of hours or minutes that is 0 switches off what it is about.
    """

    webhooks: tuple[str, ...] = field(default=(), repr=False)
    webhook_token: str = field(default="", repr=False)
    slack: tuple[str, ...] = field(default=(), repr=False)
    mail_to: tuple[str, ...] = ()
    mail_server: MailServer | None = None
    # Of one attempt to deliver.
    timeout_seconds: float = 20.0
    # After its time, a night has not started.
    night_hours: float = 1.0
    # Since its source changed, a collection is stale. The nightly run refreshes it within 24.
    stale_hours: float = 48.0
    unreachable_hours: float = 6.0
    # Between two looks at a source.
    look_minutes: float = 60.0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "NoticeSettings":
        """Read ``TESSERA_NOTICE_...``.

        Raises UserError, which names the variable and not its value, if one cannot be understood.
        """
        read = _Reader(environment)
        settings = cls(
            webhooks=read.addresses("WEBHOOK"),
            webhook_token=read.text("WEBHOOK_TOKEN"),
            slack=read.addresses("SLACK"),
            mail_to=read.mail_addresses("MAIL_TO"),
            mail_server=_mail_server(read),
            **{name: read.number(name) for name in _NUMBERS},
        )
        if settings.webhook_token and len(settings.webhooks) > 1:
            raise UserError(
                f"{PREFIX}WEBHOOK_TOKEN would be sent to {len(settings.webhooks)} webhooks: put "
                "it into the address of the one that wants it, as https://user:token@host/path."
            )
        if settings.mail_to and settings.mail_server is None:
            raise UserError(f"{PREFIX}MAIL_TO needs {PREFIX}SMTP, the server that sends the mails.")
        return settings


_NUMBERS = ("timeout_seconds", "night_hours", "stale_hours", "unreachable_hours", "look_minutes")


class _Reader:
    """Reads variables; its errors name them, and never their values."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def text(self, name: str, default: str = "") -> str:
        return self._environment.get(f"{PREFIX}{name}", "").strip() or default

    def addresses(self, name: str) -> tuple[str, ...]:
        found = tuple(self.text(name).split())
        for address in found:
            try:
                parts = urlsplit(address)
                is_address = parts.scheme in ("http", "https") and bool(parts.hostname)
                is_address = is_address and (parts.port is None or parts.port > 0)
            except ValueError:
                is_address = False
            if not is_address:
                raise UserError(
                    f"{PREFIX}{name} has to be addresses that begin with https:// or http://, "
                    "with spaces between them."
                )
        return found

    def mail_addresses(self, name: str) -> tuple[str, ...]:
        found = tuple(self.text(name).replace(",", " ").split())
        if not all(_ADDRESS.fullmatch(address) for address in found):
            raise UserError(
                f"{PREFIX}{name} has to be mail addresses, such as a@example.org, with spaces or "
                "commas between them."
            )
        return found

    def number(self, name: str) -> Any:
        text = self.text(name.upper())
        if not text:
            return getattr(NoticeSettings, name)
        least = 1.0 if name == "timeout_seconds" else 0.0
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        # A comparison with NaN is false.
        if not least <= value < 1e6:
            raise UserError(f"{PREFIX}{name.upper()} has to be a number from {least:g} up.")
        return value


def _mail_server(read: _Reader) -> MailServer | None:
    server = read.text("SMTP")
    if not server:
        return None
    security = read.text("SMTP_SECURITY", "starttls")
    if security not in _PORTS:
        raise UserError(f"{PREFIX}SMTP_SECURITY has to be {', '.join(_PORTS)}.")
    try:
        parts = urlsplit(f"//{server}")
        host, port = parts.hostname or "", parts.port or _PORTS[security]
    except ValueError:
        host, port = "", 0
    if not host or "@" in server or "/" in server:
        raise UserError(f"{PREFIX}SMTP has to be HOST or HOST:PORT, such as smtp.example.org:587.")
    (sender, *others) = read.mail_addresses("MAIL_FROM") or ("",)
    if not sender or others:
        raise UserError(f"{PREFIX}SMTP needs {PREFIX}MAIL_FROM, the address that mails come from.")
    user, password = read.text("SMTP_USER"), read.text("SMTP_PASSWORD")
    if password and security == "none" and not is_loopback(host):
        raise UserError(
            f"{PREFIX}SMTP_PASSWORD would be sent without encryption: set {PREFIX}SMTP_SECURITY to "
            "starttls or tls."
        )
    return MailServer(host, port, security, sender, user, password)
