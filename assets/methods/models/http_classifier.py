"""A classifier behind HTTP: a black box that is sent images and answers with probabilities.

It is asked as Clarifai's v2 API was: `{"inputs": [{"data": {"image": {"base64": ...}}}]}`, and
answers with `outputs`, in each `data.concepts` of `name` and `value`, in any order.

A reply may name the version of the model, in `model.model_version` of each output or in the header
X-Model-Version: all answers of a `HttpClassifier` are of one version. ETag is no such header, as it
is often made from the reply. `http_replies` has what else the services of Tessera say.
"""

import base64
import io
import os
import time
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
from PIL import Image

from assets.methods.common.errors import UserError
from assets.methods.common.fingerprints import digest_parts
from assets.methods.common.loopback import is_loopback
from assets.methods.models.classifier import Images
from assets.methods.models.http_replies import (
    FAILURE,
    OK,
    MalformedReplyError,
    NamedVersion,
    code_of,
    described,
    named_version,
    parsed,
    probabilities_of,
    reading_of,
)
from assets.methods.models.one_model import ModelChangedError, RemoteClassifier
from assets.methods.models.preprocessing import Preprocessing, scaled, to_pillow

KEY_VARIABLE = "TESSERA_CLASSIFIER_KEY"

LARGEST_BATCH = 128  # inputs; the contract allows no more in a request

# A quarter of what `tessera serve` takes by default. A request of so many bytes holds 128 windows,
# or dozens of whole images: larger ones save no time, and take memory on both sides.
LARGEST_BODY_BYTES = 16 * 2**20
# Of JSON around an image's text.
_BYTES_AROUND_AN_IMAGE = 80
# Some servers close the connection on a body that is too large for them, without a word.
_LARGE_BODY_BYTES = 2**20

VERSION_HEADER = "X-Model-Version"
_TRANSIENT_STATUSES = {408, 429}
# A server that is not there, or asks to come again later, does so for a while.
_ABSENT_STATUSES = {429, 502, 503, 504}
_TOO_LARGE_STATUS = 413
_LONGEST_PAUSE_SECONDS = 60.0
# A server that was restarted is not kept waiting.
_LONGEST_PAUSE_UNASKED_SECONDS = 10.0
_LARGEST_REPLY_BYTES = 256 * 2**20


@dataclass(frozen=True)
class HttpSettings:
    """How a black box is asked.

    Attributes:
        batch_size: images a request, at most 128.
        workers: requests at the same time.
        tries: how often an image is asked for before giving up.
        patience_seconds: how long a server that has answered before may be away, or ask to come
            again later, before that counts as a try.
        timeout_seconds: for each step of a request that the server may be silent.
        first_pause_seconds: before the second try; each further pause is twice as long, unless the
            server names another.

    Raises:
        UserError: a number is out of its range.
    """

    batch_size: int = LARGEST_BATCH
    workers: int = 4
    tries: int = 6
    patience_seconds: float = 180.0
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


@dataclass(frozen=True)
class _Answer:
    """The probabilities of an image, and what the reply says of the model that gave them."""

    probabilities: dict[str, float]
    version: NamedVersion
    reads: Preprocessing | None


class HttpClassifier(RemoteClassifier):
    """A black box at an address.

    The key of the environment variable ``TESSERA_CLASSIFIER_KEY`` is sent if it is set. Any address
    is asked, loopback too: the user chose it. The classes, sorted by name, and the version are
    learnt from a first request. A service of Tessera says what its model reads: then images are
    sent no larger than that, and as what they are, working copies or parts of them.

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
        self._first: _Answer | None = None
        self._has_answered = False
        self._most_bytes = LARGEST_BODY_BYTES
        self.batch_size = self._settings.batch_size
        self.workers = self._settings.workers
        self._client = httpx.Client(
            timeout=self._settings.timeout_seconds,
            headers={"Authorization": f"Key {self._key}"} if self._key else {},
            # A proxy of the environment seldom knows this machine by the name localhost.
            trust_env=not is_loopback(self._url.host),
        )
        weakref.finalize(self, self._client.close)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, sorted by name; the first use asks the black box.

        Raises:
            UserError: as for ``classify``.
        """
        return tuple(sorted(self._model.probabilities))

    @property
    def version(self) -> str:
        """The version that the replies name, or empty; the first use asks the black box.

        Raises:
            UserError: as for ``classify``.
        """
        return self._model.version.id

    @property
    def fingerprint(self) -> str:
        """SHA-256, hex, of the address, what follows its #, the classes, and the version."""
        parts = {
            "url": str(self._url.copy_with(fragment=None)),
            "version": self._url.fragment,
            "class_names": list(self.class_names),
        }
        named = self._model.version.unique
        # That of a black box without a version is what it was before versions were looked at.
        return digest_parts({**parts, "answered_by": named} if named else parts)

    @property
    def place(self) -> str:
        """The address without what follows its #."""
        return f"{self._url.scheme}://{self._url.netloc.decode('ascii')}{self._url.path}"

    def renew(self) -> None:
        """Learn classes and version anew: the answers from now on are that version's.

        Raises:
            UserError: as for ``classify``.
        """
        self._first = None
        _ = self._model

    def classify(self, images: Images) -> dict[str, np.ndarray]:
        """Map n images to (n,) float32 probabilities by class name.

        Raises:
            ModelChangedError: another version, or a model of other classes, answers than before.
            UserError: the black box refuses, goes on failing, or answers against the contract.
        """
        class_names = self.class_names
        answers = [answer for part in self._requests(images) for answer in self._ask(part)]
        return {
            name: np.array([answer.probabilities[name] for answer in answers], dtype=np.float32)
            for name in class_names
        }

    @property
    def _model(self) -> _Answer:
        if self._first is None:
            grey = Image.new("RGB", (64, 64), (128, 128, 128))
            (self._first,) = self._ask([_encoded(grey)])
        return self._first

    def _requests(self, images: Images) -> Iterator[list[str]]:
        """Yield the images of each request, encoded: not too many, and not too many bytes."""
        part: list[str] = []
        n_bytes = 0
        for image in images:
            encoded = _encoded(self._as_read(to_pillow(image)))
            size = len(encoded) + _BYTES_AROUND_AN_IMAGE
            if part and (
                len(part) == self._settings.batch_size or n_bytes + size > self._most_bytes
            ):
                yield part
                part, n_bytes = [], 0
            part.append(encoded)
            n_bytes += size
        if part:
            yield part

    def _as_read(self, image: Image.Image) -> Image.Image:
        """Return the image scaled as the model would scale it, if that makes it smaller."""
        reads = self._model.reads
        if reads is None:
            return image
        width, height = reads.scaled_size(*image.size)
        return scaled(image, reads) if width * height < image.width * image.height else image

    def _ask(self, encoded: list[str]) -> list[_Answer]:
        """Return the answers for images, from several requests if one is too large."""
        try:
            return self._ask_together(encoded)
        except _TooLarge as error:
            if len(encoded) == 1:
                raise self._error(
                    f"refuses an image of {len(encoded[0]) / 2**20:.1f} MB as too large: let "
                    "images be smaller"
                ) from error
        if self._is_large(encoded):
            self._most_bytes = min(self._most_bytes, _bytes_of(encoded) // 2)
        half = len(encoded) // 2
        return self._ask(encoded[:half]) + self._ask(encoded[half:])

    def _ask_together(self, encoded: list[str]) -> list[_Answer]:
        """Ask for images until all have an answer; those that fail are asked for again."""
        found: dict[int, _Answer] = {}
        n_tries = n_pauses = 0
        patient_until = time.monotonic() + self._settings.patience_seconds
        while True:
            n_found, failure = len(found), _Transient("")
            wanted = [number for number in range(len(encoded)) if number not in found]
            try:
                for number, answer in zip(
                    wanted, self._post([encoded[one] for one in wanted]), strict=True
                ):
                    if isinstance(answer, _Transient):
                        failure = answer
                    else:
                        found[number] = answer
            except _Transient as error:
                failure = error
            if len(found) == len(encoded):
                return [found[number] for number in range(len(encoded))]
            if len(found) > n_found:
                n_pauses = 0
                patient_until = time.monotonic() + self._settings.patience_seconds
            # An address that never answered may be wrong: nobody waits minutes to learn that.
            may_return = failure.is_absence and self._has_answered
            if not may_return or time.monotonic() > patient_until:
                n_tries += 1
            if n_tries >= self._settings.tries:
                break
            n_pauses += 1
            if failure.is_break and n_pauses == 2 and len(encoded) > 1 and self._is_large(encoded):
                raise _TooLarge
            time.sleep(self._pause(failure, n_pauses))
        raise self._error(f"failed {n_tries} times, the last time because {failure}")

    def _is_large(self, encoded: list[str]) -> bool:
        return _bytes_of(encoded) > _LARGE_BODY_BYTES

    def _pause(self, failure: "_Transient", number: int) -> float:
        if failure.pause_seconds is not None:
            return min(failure.pause_seconds, _LONGEST_PAUSE_SECONDS)
        longest = _LONGEST_PAUSE_UNASKED_SECONDS
        return min(self._settings.first_pause_seconds * 2 ** (min(number, 16) - 1), longest)

    def _post(self, encoded: list[str]) -> "list[_Answer | _Transient]":
        """Send one request and return its answers, one an image, or why an image has none."""
        try:
            body = {"inputs": [self._input(image) for image in encoded]}
            with self._client.stream("POST", self._url, json=body) as response:
                data = self._read(response)
        except httpx.TimeoutException as error:
            raise _Transient("it did not answer in time") from error
        except httpx.UnsupportedProtocol as error:
            raise UserError("Only http and https addresses can be classifiers.") from error
        except httpx.TransportError as error:
            raise _Transient("the connection failed or broke off", is_break=True) from error
        except httpx.DecodingError as error:
            raise self._error("sent a reply that cannot be unpacked") from error
        reply = parsed(data)
        self._check_status(response, reply)
        outputs = reply.get("outputs") if isinstance(reply, dict) else None
        if not outputs and code_of(reply) == FAILURE:
            raise _Transient(f"the request failed: {described(reply)}")
        if not isinstance(outputs, list) or len(outputs) != len(encoded):
            raise self._error(f"did not answer with one output for each of {len(encoded)} images")
        header = response.headers.get(VERSION_HEADER, "")
        return [self._answer(output, header) for output in outputs]

    def _input(self, image: str) -> dict[str, Any]:
        data: dict[str, Any] = {"base64": image}
        # A service of others may refuse what it does not know.
        if self._first is not None and self._first.reads is not None:
            data["working_copy"] = True
        return {"data": {"image": data}}

    def _answer(self, output: Any, header: str) -> "_Answer | _Transient":
        """Return what an output says, which has to be of the same model as the first answer."""
        if code_of(output) != OK:
            return _Transient(f"an image failed: {described(output)}")
        try:
            probabilities = probabilities_of(output)
        except MalformedReplyError as error:
            raise self._error(str(error)) from error
        self._has_answered = True
        answer = _Answer(probabilities, named_version(output, header), reading_of(output))
        if self._first is not None:
            self._check_model(answer, self._first)
        return answer

    def _check_model(self, answer: _Answer, first: _Answer) -> None:
        if answer.version.unique != first.version.unique:
            raise ModelChangedError(
                self._described(f"answered by {first.version}, and answers by {answer.version} now")
            )
        differing = sorted(answer.probabilities.keys() ^ first.probabilities.keys())
        if differing:
            raise ModelChangedError(
                self._described(
                    f"answers now with the class {differing[0]}, now without: it has to name all "
                    "its classes for each image"
                )
            )

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
        if status == _TOO_LARGE_STATUS:
            raise _TooLarge
        told = f"HTTP status {status}" + (f", {described(reply)}" if code_of(reply) else "")
        if status in _TRANSIENT_STATUSES or status >= 500:
            is_absence = status in _ABSENT_STATUSES
            raise _Transient(f"of {told}", _retry_after(response), is_absence=is_absence)
        if status in (401, 403):
            told += f"; set the environment variable {KEY_VARIABLE} to a key that it knows"
        if response.is_redirect:
            told += "; it redirects, so give the address that it redirects to"
        raise self._error(f"refused the request ({told})")

    def _error(self, what: str) -> UserError:
        return UserError(f"{self._described(what)}.")

    def _described(self, what: str) -> str:
        sentence = f"The classifier at {self.place} {what}"
        # A server may repeat what it was sent.
        return sentence.replace(self._key, "***") if self._key else sentence


class _Transient(Exception):  # noqa: N818 - not an error until the tries are used up
    """A failure that may be gone when tried again; the server may have said when.

    ``is_absence`` says that the server is away or busy; ``is_break``, that the connection failed.
    """

    def __init__(
        self,
        detail: str,
        pause_seconds: float | None = None,
        *,
        is_absence: bool = False,
        is_break: bool = False,
    ) -> None:
        super().__init__(detail)
        self.pause_seconds = pause_seconds
        self.is_absence = is_absence or is_break
        self.is_break = is_break


class _TooLarge(Exception):  # noqa: N818 - not an error if there is more than one image
    """The server takes no request of so many bytes."""


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


def _bytes_of(encoded: list[str]) -> int:
    return sum(map(len, encoded)) + _BYTES_AROUND_AN_IMAGE * len(encoded)


def _retry_after(response: httpx.Response) -> float | None:
    value = response.headers.get("Retry-After", "").strip()
    # The other form, a date, is as rare as clocks that agree.
    return float(value) if value.isdecimal() and value.isascii() else None
