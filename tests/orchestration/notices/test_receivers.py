import base64
import logging
import ssl
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiosmtpd.smtp import AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from orchestration.notices.cause import Cause, Kind
from orchestration.notices.notice import Notice, notice_for_test
from orchestration.notices.receivers import Mailbox, NotDeliveredError, Webhook, receivers_of
from orchestration.notices.settings import MailServer, NoticeSettings
from support.notice_receivers import MailReceiver, WebReceiver, free_port

WHAT = "The run of photo_map by the schedule nightly for the collection birds failed at mosaic."
CAUSE = Cause(Kind.FAILED_RUN, "birds", "photo_map", 1_700_000_000.0, WHAT, "1234")
OPENED = Notice("opened", CAUSE, 1_700_000_001.0, "http://dagster/runs/1234")
OVER = Notice("over", CAUSE, 1_700_003_600.0)


@pytest.fixture
def web():
    with WebReceiver(free_port()).up() as receiver:
        yield receiver


@pytest.fixture
def mail():
    with MailReceiver(free_port()).up() as receiver:
        yield receiver


def mailbox(receiver: MailReceiver, **options) -> Mailbox:
    server = MailServer("127.0.0.1", receiver.port, "none", "tessera@example.org", **options)
    return Mailbox("mail", "oncall@example.org", server)


def test_a_webhook_gets_json(web):
    Webhook("webhook", web.address).send(OPENED, 5)
    Webhook("webhook", web.address).send(OVER, 5)
    opened, over = web.taken
    assert opened.body == {
        "id": OPENED.id,
        "event": "opened",
        "kind": "failed_run",
        "collection": "birds",
        "subject": "photo_map",
        "since": "2023-11-14T22:13:20Z",
        "over_at": None,
        "title": "failed run: birds photo_map",
        "text": WHAT,
        "url": "http://dagster/runs/1234",
    }
    assert opened.headers["Idempotency-Key"] == OPENED.id
    assert over.body["event"] == "over"
    assert over.body["over_at"] == "2023-11-14T23:13:20Z"
    assert over.body["title"] == "over: failed run: birds photo_map"
    assert over.body["id"] != OPENED.id


def test_slack_gets_its_own_format_with_signs_escaped(web):
    what = "a < b & c > d"
    cause = Cause(Kind.FAILED_CHECK, "birds", "vectors_are_sound", 0.0, what)
    settings = NoticeSettings(slack=(web.address,))
    (slack,) = receivers_of(settings)
    slack.send(Notice("opened", cause, 0.0, "http://d/r?a=1&b=2"), 5)
    assert web.taken[0].body == {
        "text": ":red_circle: *failed check: birds vectors_are_sound*\na &lt; b &amp; c &gt; d\n"
        "<http://d/r?a=1&amp;b=2|The run in Dagster>"
    }


def test_a_mail_names_cause_and_time_and_that_it_is_over_is_a_reply(mail):
    for notice in (OPENED, OVER):
        mailbox(mail).send(notice, 5)
    opened, over = mail.mails
    assert mail.receivers == [["oncall@example.org"]] * 2
    assert opened["Subject"] == "[tessera] failed run: birds photo_map"
    assert (opened["From"], opened["To"]) == ("tessera@example.org", "oncall@example.org")
    assert opened["Auto-Submitted"] == "auto-generated"
    assert opened["Message-ID"] == f"<{OPENED.id}@example.org>"
    assert opened.get_content().replace("\r\n", "\n") == (
        f"{WHAT}\n\nSince 2023-11-14 22:13 UTC.\nhttp://dagster/runs/1234\n"
    )
    assert over["In-Reply-To"] == over["References"] == opened["Message-ID"]
    assert over["Subject"] == "[tessera] over: failed run: birds photo_map"
    assert over.get_content().startswith("It is over since 2023-11-14 23:13 UTC: The run")


@pytest.mark.parametrize("status", [301, 307, 400, 404, 429, 500, 503])
def test_an_answer_that_is_no_success_is_a_failure_and_no_redirect_is_followed(web, status):
    web.status, web.location = status, f"http://127.0.0.1:{web.port}/elsewhere"
    with pytest.raises(NotDeliveredError, match=f"^it answered with the status {status}$"):
        Webhook("webhook", web.address).send(OPENED, 5)
    assert web.taken == []
    assert len(web.refused) == 1


@pytest.mark.parametrize("drips", [False, True])
def test_a_webhook_that_hangs_costs_no_more_than_the_limit(web, drips):
    web.hangs.set()
    web.drips = drips
    begun = time.monotonic()
    with pytest.raises(NotDeliveredError, match="did not answer"):
        Webhook("webhook", web.address).send(OPENED, 0.3)
    assert time.monotonic() - begun < 2


def test_a_receiver_that_is_down_is_a_failure_without_its_address():
    web = Webhook("webhook", f"http://127.0.0.1:{free_port()}/secret")
    box = mailbox(MailReceiver(free_port()))
    for receiver in (web, box):
        with pytest.raises(NotDeliveredError) as caught:
            receiver.send(OPENED, 5)
        assert str(caught.value) == "it cannot be reached (Connection refused)"
        assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("answer", "why"),
    [("451 try later", "it answered with 451"), ("554 no", "it answered with 554")],
)
def test_a_mail_server_that_refuses_is_a_failure(mail, answer, why):
    mail.answer = answer
    with pytest.raises(NotDeliveredError, match=f"^{why}$"):
        mailbox(mail).send(OPENED, 5)


def test_a_mail_server_that_refuses_the_address_is_a_failure(mail):
    mail.answer_to_address = "550 nobody of this name: oncall@example.org"
    with pytest.raises(NotDeliveredError, match=r"^it refused the address \(550\)$"):
        mailbox(mail).send(OPENED, 5)


def test_a_mail_server_that_hangs_costs_no_more_than_the_limit(mail):
    mail.hangs = True
    begun = time.monotonic()
    with pytest.raises(NotDeliveredError, match="did not answer"):
        mailbox(mail).send(OPENED, 0.3)
    assert time.monotonic() - begun < 2
    mail.hangs = False
    mailbox(mail).send(OPENED, 5)


def test_a_mail_server_is_never_used_without_the_encryption_that_is_set(mail):
    server = MailServer("127.0.0.1", mail.port, "starttls", "tessera@example.org")
    with pytest.raises(NotDeliveredError):
        Mailbox("mail", "oncall@example.org", server).send(OPENED, 5)
    assert mail.mails == []


def test_mail_goes_over_tls_to_a_server_that_asks_for_user_and_password(tmp_path, monkeypatch):
    certificate = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    given = []

    def authenticate(server, session, envelope, mechanism, login):
        given.append((login.login, login.password))
        return AuthResult(success=login.password == b"p4ssword", handled=False)

    receiver = MailReceiver(free_port())
    options = {
        "tls_context": context,
        "require_starttls": True,
        "authenticator": authenticate,
        "auth_required": True,
    }
    server = MailServer("localhost", receiver.port, "starttls", "t@example.org", "u", "p4ssword")
    box = Mailbox("mail", "oncall@example.org", server)
    with receiver.up(**options):
        with pytest.raises(NotDeliveredError, match=r"^its certificate is not valid$"):
            box.send(OPENED, 5)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        box.send(OPENED, 5)
        assert given == [(b"u", b"p4ssword")]
        assert len(receiver.mails) == 1
        wrong = replace(box, server=replace(server, password="wrong"))
        with pytest.raises(NotDeliveredError, match="did not accept the user and the password"):
            wrong.send(OPENED, 5)


def self_signed(folder: Path) -> Path:
    """Return a file with the key and the certificate of a server called localhost."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    file.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return file


def test_user_and_password_of_an_address_become_a_header(web):
    address = web.address.replace("http://", "http://bird:p%40ss@")
    Webhook("webhook", address).send(OPENED, 5)
    expected = base64.b64encode(b"bird:p@ss").decode()
    assert web.taken[0].headers["Authorization"] == f"Basic {expected}"
    assert web.taken[0].path == "/hook/secret-of-the-path"
    (with_token,) = receivers_of(NoticeSettings(webhooks=(web.address,), webhook_token="t0ken"))
    with_token.send(OPENED, 5)
    assert web.taken[1].headers["Authorization"] == "Bearer t0ken"


def test_no_log_and_no_message_holds_a_secret(web, mail, caplog):
    caplog.set_level(logging.DEBUG)
    secrets = ("secret-of-the-path", "p4ssword", "t0ken")
    settings = NoticeSettings(
        webhooks=(web.address,),
        webhook_token="t0ken",
        slack=(web.address.replace("http://", "http://u:p4ssword@"),),
        mail_to=("oncall@example.org",),
        mail_server=MailServer("127.0.0.1", mail.port, "none", "t@example.org", "u", "p4ssword"),
    )
    web.status = 500
    texts = [repr(settings)]
    for receiver in receivers_of(settings):
        with pytest.raises(NotDeliveredError) as caught:
            receiver.send(notice_for_test(0.0), 5)
        texts += [str(caught.value), repr(receiver)]
    everything = "\n".join([*texts, caplog.text])
    assert not any(secret in everything for secret in secrets)


def test_receivers_are_named_by_their_place():
    server = MailServer("h", 25, "none", "t@example.org")
    settings = NoticeSettings(
        webhooks=("http://a", "http://b"),
        slack=("http://c",),
        mail_to=("a@b", "c@d"),
        mail_server=server,
    )
    names = [receiver.name for receiver in receivers_of(settings)]
    assert names == ["webhook", "webhook-2", "slack", "mail", "mail-2"]
