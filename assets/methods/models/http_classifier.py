"""A classifier behind HTTP: a black box that is sent images and answers with probabilities.

It is asked as Clarifai's v2 API was: `{"inputs": [{"data": {"image": {"base64": ...}}}]}`, and
answers with `outputs`, in each `data.concepts` of `name` and `value`, in any order.
"""

import base64
import io
import json
import os
import time
import weakref
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import httpx
import numpy as np
from PIL import Image

from assets.methods.common.errors import UserError
from assets.methods.common.fingerprints import digest_parts
from assets.methods.models.classifier import Images
from assets.methods.models.preprocessing import to_pillow

KEY_VARIABLE = "TESSERA_CLASSIFIER_KEY"

LARGEST_BATCH = 128  # inputs; the contract allows no more in a request

_OK = 10000
_FAILURE = 10020
_TRANSIENT_STATUSES = {408, 429}
_LONGEST_PAUSE_SECONDS = 60.0
_LARGEST_REPLY_BYTES = 256 * 2**20
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class HttpSettings:
    """How a black box is asked.

    Attributes:
        batch_size: images a request, at most 128.
        workers: requests at the same time.
        tries: how often an image is asked for before giving up.
        timeout_seconds: for each step of a request that the server may be silent.
        first_pause_seconds: before the second try; each further pause is twice as long, unless the
            server names another.

    Raises:
        UserError: a number is out of its range.
    """

    batch_size: int = LARGEST_BATCH
    workers: int = 4
    tries: int = 6
    timeout_seconds: float = 60.0
    first_pause_seconds: float = 0.5

    def __post_init__(self) -> None:
        if not 1 <= self.batch_size <= LARGEST_BATCH:
            raise UserError(
                f"The batch size is {self.batch_size}: a request holds 1 to {LARGEST_BATCH} images."
            )
        for name, number in (("workers", self.workers), ("tries", self.tries)):
            if number < 1:
                raise UserError(f"The number of {name} is {number}: it has to be at least 1.")


class HttpClassifier:
    """A black box at an address.

    The key of the environment variable ``TESSERA_CLASSIFIER_KEY`` is sent if it is set. Any address
    is asked, loopback too: the user chose it. The classes, sorted by name, are learnt from a first
    request.

    Args:
        url: http or https. What follows a # is not sent but is part of the fingerprint: change it
            (`#v2`) when the black box has changed.
        settings: how it is asked.

    Raises:
        UserError: the address or the key is not valid.
    """

    device = "cpu"

    def __init__(self, url: str, settings: HttpSettings | None = None) -> None:
        self._settings = settings or HttpSettings()
        self._url = _parsed(url)
        self._key = _key()
        self.batch_size = self._settings.batch_size
        self.workers = self._settings.workers
        self._client = httpx.Client(
            timeout=self._settings.timeout_seconds,
            headers={"Authorization": f"Key {self._key}"} if self._key else {},
            # A proxy of the environment seldom knows this machine by the name localhost.
            trust_env=self._url.host not in _LOOPBACK,
        )
        weakref.finalize(self, self._client.close)

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The classes, sorted by name; the first use asks the black box.

        Raises:
            UserError: as for ``classify``.
        """
        grey = Image.new("RGB", (64, 64), (128, 128, 128))
        return tuple(sorted(self._ask([_encoded(grey)])[0]))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256, hex, of the address, what follows its #, and the classes."""
        address = str(self._url.copy_with(fragment=None))
        return digest_parts(
            {"url": address, "version": self._url.fragment, "class_names": list(self.class_names)}
        )

    def classify(self, images: Images) -> dict[str, np.ndarray]:
        """Map n images to (n,) float32 probabilities by class name.

        Raises:
            UserError: the black box refuses, goes on failing, or answers against the contract.
        """
        encoded = [_encoded(to_pillow(image)) for image in images]
        answers: list[dict[str, float]] = []
        for start in range(0, len(encoded), self.batch_size):
            answers += self._ask(encoded[start : start + self.batch_size])
        for answer in answers:
            if answer.keys() != set(self.class_names):
                differing = sorted(answer.keys() ^ set(self.class_names))[0]
                raise self._error(
                    f"answers now with the class {differing}, now without: it has to name all "
                    "its classes for each image"
                )
        return {
            name: np.array([answer[name] for answer in answers], dtype=np.float32)
            for name in self.class_names
        }

    def _ask(self, encoded: list[str]) -> list[dict[str, float]]:
        """Return the probabilities of images; those that fail are asked for again."""
        found: dict[int, dict[str, float]] = {}
        failure = _Transient("")
        for attempt in range(self._settings.tries):
            if attempt:
                time.sleep(self._pause(failure, attempt))
            wanted = [number for number in range(len(encoded)) if number not in found]
            try:
                outputs = self._post([encoded[number] for number in wanted])
            except _Transient as error:
                failure = error
                continue
            for number, output in zip(wanted, outputs, strict=True):
                if _code(output) == _OK:
                    found[number] = self._probabilities(output)
                else:
                    failure = _Transient(f"an image failed: {_described(output)}")
            if len(found) == len(encoded):
                return [found[number] for number in range(len(encoded))]
        raise self._error(f"failed {self._settings.tries} times, the last time because {failure}")

    def _pause(self, failure: "_Transient", attempt: int) -> float:
        if failure.pause_seconds is not None:
            return min(failure.pause_seconds, _LONGEST_PAUSE_SECONDS)
        return min(self._settings.first_pause_seconds * 2 ** (attempt - 1), _LONGEST_PAUSE_SECONDS)

    def _post(self, encoded: list[str]) -> list[Any]:
        """Send one request and return its outputs, one an image."""
        inputs = [{"data": {"image": {"base64": image}}} for image in encoded]
        try:
            with self._client.stream("POST", self._url, json={"inputs": inputs}) as response:
                body = self._read(response)
        except httpx.TimeoutException as error:
            raise _Transient("it did not answer in time") from error
        except httpx.UnsupportedProtocol as error:
            raise UserError("Only http and https addresses can be classifiers.") from error
        except httpx.TransportError as error:
            raise _Transient("the connection failed or broke off") from error
        except httpx.DecodingError as error:
            raise self._error("sent a reply that cannot be unpacked") from error
        reply = _json(body)
        self._check_status(response, reply)
        outputs = reply.get("outputs") if isinstance(reply, dict) else None
        if not outputs and _code(reply) == _FAILURE:
            raise _Transient(f"the request failed: {_described(reply)}")
        if not isinstance(outputs, list) or len(outputs) != len(encoded):
            raise self._error(f"did not answer with one output for each of {len(encoded)} images")
        return outputs

    def _read(self, response: httpx.Response) -> bytes:
        body = bytearray()
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > _LARGEST_REPLY_BYTES:
                raise self._error(f"sent a reply of more than {_LARGEST_REPLY_BYTES // 2**20} MB")
        return bytes(body)

    def _check_status(self, response: httpx.Response, reply: Any) -> None:
        status = response.status_code
        if response.is_success:
            return
        told = f"HTTP status {status}" + (f", {_described(reply)}" if _code(reply) else "")
        if status in _TRANSIENT_STATUSES or status >= 500:
            raise _Transient(f"of {told}", _retry_after(response))
        if status in (401, 403):
            told += f"; set the environment variable {KEY_VARIABLE} to a key that it knows"
        if response.is_redirect:
            told += "; it redirects, so give the address that it redirects to"
        raise self._error(f"refused the request ({told})")

    def _probabilities(self, output: Any) -> dict[str, float]:
        try:
            concepts = output["data"]["concepts"]
            found = {concept["name"]: concept["value"] for concept in concepts}
        except (KeyError, TypeError) as error:
            raise self._error("answered without data.concepts of name and value") from error
        if len(found) < len(concepts) or not found:
            raise self._error("named a class twice, or none at all")
        for name, value in found.items():
            if not isinstance(name, str) or not _is_number(value):
                raise self._error("answered with a class or a value of the wrong type")
        return found

    def _error(self, what: str) -> UserError:
        place = f"{self._url.scheme}://{self._url.netloc.decode('ascii')}{self._url.path}"
        sentence = f"The classifier at {place} {what}."
        # A server may repeat what it was sent.
        return UserError(sentence.replace(self._key, "***") if self._key else sentence)


class _Transient(Exception):  # noqa: N818 - not an error until the tries are used up
    """A failure that may be gone when tried again; the server may have said when."""

    def __init__(self, detail: str, pause_seconds: float | None = None) -> None:
        super().__init__(detail)
        self.pause_seconds = pause_seconds


def _parsed(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as error:
        raise UserError("The address of the classifier is not a valid web address.") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise UserError("The address of a classifier begins with http:// or https:// and a host.")
    if parsed.userinfo or parsed.query:
        # Addresses are logged and drawn into figures.
        raise UserError(
            "The address of the classifier carries a user name, a password or a query (?...): put "
            f"a key into the environment variable {KEY_VARIABLE} instead."
        )
    return parsed


def _key() -> str:
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise UserError(f"{KEY_VARIABLE} holds characters that a key cannot have.")
    return key


def _encoded(image: Image.Image) -> str:
    png = io.BytesIO()
    # Pictures are sent once: time matters more than bytes.
    image.save(png, "PNG", compress_level=1)
    return base64.b64encode(png.getvalue()).decode("ascii")


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _code(reply: Any) -> int | None:
    """Return the code of a reply's or an output's status; None if there is none."""
    status = reply.get("status") if isinstance(reply, dict) else None
    code = status.get("code") if isinstance(status, dict) else None
    return code if isinstance(code, int) else None


def _is_number(value: Any) -> bool:
    # An integer of a thousand digits is JSON, too, but no float.
    return isinstance(value, float) or (type(value) is int and abs(value) < 2**63)


def _described(reply: Any) -> str:
    if _code(reply) is None:
        return "it has no status"
    status = reply["status"]
    told = " ".join(str(status.get(part, "")) for part in ("description", "details"))
    return f"code {status['code']} {' '.join(told.split())[:200]}".strip()


def _retry_after(response: httpx.Response) -> float | None:
    value = response.headers.get("Retry-After", "").strip()
    # The other form, a date, is as rare as clocks that agree.
    return float(value) if value.isdecimal() and value.isascii() else None
