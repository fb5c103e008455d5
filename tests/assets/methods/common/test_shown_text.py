import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.methods.common.shown_text import (
    printable,
    printable_uri,
    shown,
    without_secrets,
)
from assets.methods.photos.local import local_path, local_uri

# Terminals obey these, or show the text in another order.
UNSAFE = "\x00\x07\r\n\t\x1b\x7f\x85\x9b\u061c\u200e\u200f\u2028\u2029\u202a\u202e\u2066\u2069"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("\x1b]0;title\x07.jpg", r"\x1b]0;title\x07.jpg"),
        ("two\r\nlines", r"two\r\nlines"),
        ("photo\u202egpj.exe", r"photo\u202egpj.exe"),
        ("caf\udce9.jpg", r"caf\udce9.jpg"),
        ("[red]\\x1b|`<b>", "[red]\\x1b|`<b>"),
        # A family with joiners, a narrow space of macOS, and Hebrew are names like others.
        ("👨‍👩‍👧 9.41\u202fAM שלום", "👨‍👩‍👧 9.41\u202fAM שלום"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(name, expected):
    assert printable(name) == expected
    assert printable(expected) == expected


@given(st.text(st.characters() | st.sampled_from(UNSAFE)))
def test_nothing_unsafe_is_left(text):
    for safe in (printable(text), printable_uri(f"/{text}"), printable_uri(f"s3://{text}")):
        assert not set(safe) & set(UNSAFE)
        safe.encode("utf-8")


@given(st.binary(min_size=1, max_size=20).filter(lambda name: b"\0" not in name))
def test_a_printable_uri_still_names_its_file(name):
    path = "/photos/" + os.fsdecode(name)
    assert local_path(printable_uri(local_uri(path))) == path
    assert local_path(printable_uri(path)) == path


def test_only_what_is_unsafe_is_percent_encoded():
    assert printable_uri("/a b/שלום 100%.jpg") == "/a b/שלום 100%.jpg"
    assert printable_uri("/a b/ש\u200f 100%\x1b.jpg") == "file:///a b/ש%E2%80%8F 100%25%1B.jpg"
    assert printable_uri("s3://b/100%\n.jpg") == "s3://b/100%%0A.jpg"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://bob:pw@host/a.jpg", "https://hidden@host/a.jpg"),
        ("https://pw@host:81/a@2x.jpg", "https://hidden@host:81/a@2x.jpg"),
        ("https://bob:p@w@host/a.jpg", "https://hidden@host/a.jpg"),
        ("https://bob:pw/pw?pw#pw@host/a.jpg", "https://hidden@host/a.jpg"),
        ("https://bob:p w\n@host/", "https://hidden@host/"),
        ("HTTPS://bob@host/", "HTTPS://hidden@host/"),
        ("https://host/?password=pw&w=9", "https://host/?password=hidden&w=9"),
        ("https://host/?pass%77ord=pw#x", "https://host/?pass%77ord=hidden#x"),
        ("https://host/?api_key=hidden-0123456789", "https://host/?api_key=hidden-0123456789"),
        ("https://host/#w=9&password=pw", "https://host/#w=9&password=hidden"),
        # Neither a user nor a secret.
        ("https://host:8080/a@2x.jpg", "https://host:8080/a@2x.jpg"),
        ("http://[::1]:8080/a@2x.jpg", "http://[::1]:8080/a@2x.jpg"),
        ("abfss://photos@account.example/a.jpg", "abfss://photos@account.example/a.jpg"),
        ("https://host/?w=9&author=ann&key=a.jpg", "https://host/?w=9&author=ann&key=a.jpg"),
        ("/photos/token=a?sig=b", "/photos/token=a?sig=b"),
        ("s3://bucket/a?b&c;d", "s3://bucket/a?b&c;d"),
    ],
)
def test_a_password_is_hidden_and_the_rest_stays(url, expected):
    assert without_secrets(url) == expected
    assert without_secrets(expected) == expected


@pytest.mark.parametrize(
    "name",
    [
        *("X-Amz-Signature", "X-Amz-Security-Token", "X-Amz-Credential", "X-Goog-Signature"),
        *("sig", "token", "access_token", "accessToken", "api_key", "apikey", "apiKey", "key"),
        *("AWSAccessKeyId", "Signature", "auth", "jwt", "client-secret", "TOKEN", "a=1;token"),
    ],
)
def test_a_token_is_a_digest_so_that_two_addresses_stay_two(name):
    one, other = (
        without_secrets(f"https://host/a.jpg?w=9&{name}=s3cr3t{number}s3cr3ts3cr3t&h=9")
        for number in (1, 2)
    )
    assert "s3cr3t" not in one + other
    assert one != other
    assert one.startswith(f"https://host/a.jpg?w=9&{name}=hidden-")
    assert one.endswith("&h=9")
    assert without_secrets(one) == one


def test_a_short_key_of_an_api_is_a_secret():
    assert "s3cr3t" not in without_secrets("https://host/?api_key=s3cr3t&subscription-key=s3cr3t")


def test_a_message_is_without_secrets_and_in_one_line():
    message = "https://bob:pw@host/?sig=pw cannot be read,\nnor http://pw@host/: 'bob@host'"
    hidden = shown(message)
    assert "pw" not in hidden
    assert hidden.startswith("https://hidden@host/?sig=hidden-")
    assert hidden.endswith(r" cannot be read,\nnor http://hidden@host/: 'bob@host'")
