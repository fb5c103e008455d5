"""What receivers are told: that something is wrong, that it is over, or that this is a test."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any, Literal

from orchestration.notices.cause import Cause, Kind, for_programs, in_words

Event = Literal["opened", "over", "test"]


@dataclass(frozen=True)
class Notice:
    """One message about a cause; ``at`` is when it was made, in seconds since 1970.

    ``url`` is Dagster's page of the run; empty if there is none.
    """

    event: Event
    cause: Cause
    at: float
    url: str = ""

    @property
    def id(self) -> str:
        """The same for each attempt to deliver it, so that a receiver can leave out a second."""
        return self._id_of(self.event)

    def _id_of(self, event: Event) -> str:
        moment = self.at if event == "test" else self.cause.since
        named = f"{event} {moment!r} {self.cause.key}"
        return hashlib.sha256(named.encode()).hexdigest()[:32]

    @property
    def title(self) -> str:
        """A line such as ``over: failed run: birds photo_map``."""
        if self.event == "test":
            return "test notice"
        return self.cause.title if self.event == "opened" else f"over: {self.cause.title}"

    @property
    def text(self) -> str:
        """What is wrong, in one or two sentences."""
        if self.event != "over":
            return self.cause.what
        return f"It is over since {in_words(self.at)}: {self.cause.what}"

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "id": self.id,
            "event": self.event,
            "kind": str(self.cause.kind),
            "collection": self.cause.collection,
            "subject": self.cause.subject,
            "since": for_programs(self.cause.since),
            "over_at": for_programs(self.at) if self.event == "over" else None,
            "title": self.title,
            "text": self.text,
            "url": self.url,
        }

    def as_slack(self) -> dict[str, Any]:
        """Return it as Slack's incoming webhooks take it."""
        mark = {"opened": ":red_circle:", "over": ":large_green_circle:", "test": ":white_circle:"}
        link = f"\n<{_escaped(self.url)}|The run in Dagster>" if self.url else ""
        text = f"{mark[self.event]} *{_escaped(self.title)}*\n{_escaped(self.text)}{link}"
        return {"text": text}

    def as_mail(self, sender: str, receiver: str) -> EmailMessage:
        """Return it as a mail; that it is over is a reply to that it has begun."""
        domain = sender.rpartition("@")[2]
        mail = EmailMessage()
        mail["From"], mail["To"] = sender, receiver
        mail["Subject"] = f"[tessera] {self.title}"
        mail["Date"] = format_datetime(datetime.fromtimestamp(self.at, UTC))
        mail["Message-ID"] = f"<{self.id}@{domain}>"
        # So that no program answers that somebody is on holiday.
        mail["Auto-Submitted"] = "auto-generated"
        if self.event == "over":
            mail["In-Reply-To"] = mail["References"] = f"<{self._id_of('opened')}@{domain}>"
        lines = [self.text, "", f"Since {in_words(self.cause.since)}."]
        mail.set_content("\n".join([*lines, self.url] if self.url else lines) + "\n")
        return mail

    @classmethod
    def restored(cls, stored: dict[str, Any]) -> "Notice":
        """Return the notice that ``dataclasses.asdict`` was given."""
        return cls(**{**stored, "cause": Cause.restored(stored["cause"])})


def notice_for_test(at: float) -> Notice:
    """Return a message by which an operator sees that a receiver gets them."""
    what = "This is a test of Tessera's notices. Nothing is wrong."
    return Notice("test", Cause(Kind.TEST, None, "", at, what), at)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
