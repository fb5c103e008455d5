import pytest

from assets.methods.common.errors import UserError
from orchestration.notices.receivers import receivers_of
from orchestration.notices.settings import PREFIX, NoticeSettings

MAIL = {"SMTP": "smtp.example.org", "MAIL_FROM": "t@example.org", "MAIL_TO": "a@b.org, c@d.org"}


def read(**values: str) -> NoticeSettings:
    return NoticeSettings.from_environment({f"{PREFIX}{k}": v for k, v in values.items()})


def test_nobody_is_told_where_nothing_is_set():
    assert read() == NoticeSettings()
    assert receivers_of(read()) == []
    # What somebody has emptied is not set, either.
    assert read(WEBHOOK="", STALE_HOURS=" ", SMTP="") == NoticeSettings()


def test_everything_can_be_set():
    settings = read(
        WEBHOOK="https://a.example.org/x  http://b:80/y",
        SLACK="https://hooks.example.org/T/B/X",
        STALE_HOURS="12.5",
        LOOK_MINUTES="0",
        TIMEOUT_SECONDS="3",
        **MAIL,
    )
    assert settings.webhooks == ("https://a.example.org/x", "http://b:80/y")
    assert settings.mail_to == ("a@b.org", "c@d.org")
    assert (settings.stale_hours, settings.look_minutes, settings.timeout_seconds) == (12.5, 0, 3)
    assert settings.unreachable_hours == NoticeSettings.unreachable_hours


@pytest.mark.parametrize(
    ("security", "port"), [("", 587), ("starttls", 587), ("tls", 465), ("none", 25)]
)
def test_the_port_follows_from_the_encryption(security, port):
    assert read(SMTP_SECURITY=security, **MAIL).mail_server.port == port
    named = read(SMTP_SECURITY=security, **{**MAIL, "SMTP": "smtp.example.org:2525"})
    assert (named.mail_server.host, named.mail_server.port) == ("smtp.example.org", 2525)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"WEBHOOK": "s3cret"}, "WEBHOOK"),
        ({"WEBHOOK": "ftp://s3cret/"}, "WEBHOOK"),
        ({"WEBHOOK": "https://a/ https://b:s3cret/"}, "WEBHOOK"),
        ({"SLACK": "https://"}, "SLACK"),
        ({"WEBHOOK": "https://a https://b", "WEBHOOK_TOKEN": "s3cret"}, "WEBHOOK_TOKEN"),
        ({"MAIL_TO": "a@b.org"}, "SMTP"),
        ({**MAIL, "MAIL_FROM": ""}, "MAIL_FROM"),
        ({**MAIL, "MAIL_TO": "a@b.org\nBcc: s3cret"}, "MAIL_TO"),
        ({**MAIL, "SMTP": "u:s3cret@host"}, "SMTP"),
        ({**MAIL, "SMTP": "host:port"}, "SMTP"),
        ({**MAIL, "SMTP_SECURITY": "ssl"}, "SMTP_SECURITY"),
        ({**MAIL, "SMTP_SECURITY": "none", "SMTP_PASSWORD": "s3cret"}, "SMTP_PASSWORD"),
        ({"STALE_HOURS": "two"}, "STALE_HOURS"),
        ({"STALE_HOURS": "-1"}, "STALE_HOURS"),
        ({"NIGHT_HOURS": "nan"}, "NIGHT_HOURS"),
        ({"TIMEOUT_SECONDS": "0"}, "TIMEOUT_SECONDS"),
    ],
)
def test_what_cannot_be_understood_is_named_and_its_value_is_not(values, named):
    with pytest.raises(UserError, match=f"{PREFIX}{named}") as caught:
        read(**values)
    assert "s3cret" not in str(caught.value)
