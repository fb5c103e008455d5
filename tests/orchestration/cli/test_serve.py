from pathlib import Path

import pytest

from orchestration.api.settings import ServeSettings
from orchestration.cli import serve
from orchestration.cli.main import cli


@pytest.fixture
def settings(home, monkeypatch):
    """Returns a function that calls `tessera serve` and returns the settings of the service."""

    def call(*arguments: str) -> ServeSettings:
        served: list[tuple[Path, ServeSettings]] = []
        monkeypatch.setattr(serve, "serve", lambda *given: served.append(given))
        cli.main(["serve", *arguments], standalone_mode=False)
        ((served_home, settings),) = served
        assert served_home == home
        return settings

    return call


def test_what_is_not_given_is_left_as_it_is(settings):
    assert settings() == ServeSettings()


def test_every_option_reaches_the_service(settings):
    given = settings(
        "--host", "::1", "--port", "0", "--runs", "2", "--download-seconds", "3",
        "--image-megabytes", "1", "--public-url", "https://photos.example.org",
        "--allow-private-addresses", "--threads", "1",
    )  # fmt: skip
    assert (given.host, given.port, given.runs_at_once) == ("::1", 0, 2)
    assert (given.download_seconds, given.image_megabytes) == (3.0, 1.0)
    assert given.public_url == "https://photos.example.org"
    assert given.allow_private_addresses
    assert given.compute.threads == 1
