"""Text from outside, such as names of files, made fit for people to see.

A name may hold characters that steer a terminal or turn the direction of reading, and an address
may hold a password.
"""

import hashlib
import re
from urllib.parse import quote, unquote_plus

# C0, DEL and C1; marks and overrides of the direction of reading; ends of lines and paragraphs;
# and halves of surrogate pairs, which stand for bytes that are not UTF-8.
_UNSAFE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
# What stands before @ in the authority of a URL. The second form is that of a password with a / in
# it, which would end the authority: what follows the colon is no number of a port.
_USER = re.compile(r"(?<=://)(?:[^/?#]*|(?!\[)[^/?#:@]*:(?!\d*(?:[/?#]|$)).*)@", re.DOTALL)
_PASSWORDS = {"pass", "passphrase", "passwd", "password", "pwd"}
_SECRETS = _PASSWORDS | {
    *("accesskey", "apikey", "auth", "authorization", "credential", "credentials", "hdnea"),
    *("hdnts", "hmac", "jwt", "secret", "session", "sig", "sign", "signature", "ticket", "token"),
}
_OWNERS_OF_KEYS = {"access", "account", "api", "private", "secret", "shared", "subscription"}
# A part of a query or a fragment.
_FIELD = re.compile(r"(?<=[?&#])[^?&#]+")
_HIDDEN = re.compile(r"hidden(-[0-9a-f]{10})?")
_HIDDEN_PART = re.compile(rf"://hidden@|=(?:{_HIDDEN.pattern})(?=[&#;]|$)")
_LONG_KEY = re.compile(r"[\w~+=-]{16,}")


def hides_secret(uri: str) -> bool:
    """Return whether `without_secrets` has hidden a part of ``uri``."""
    return _HIDDEN_PART.search(uri) is not None


def printable(text: str) -> str:
    r"""Return ``text`` with characters that are not to be printed as escapes: ``\x1b``."""
    return _UNSAFE.sub(lambda found: ascii(found[0])[1:-1], text)


def printable_uri(uri: str) -> str:
    """Return a uri that can be printed, and that still names its file.

    The path of a local file becomes a ``file://`` URI if need be. Only the characters that are not
    to be printed are percent-encoded, and the percent sign.
    """
    if _UNSAFE.search(uri) is None:
        return uri
    if uri.startswith("/"):
        uri = "file://" + uri.replace("%", "%25")
    return _UNSAFE.sub(_percent_encoded, uri)


def without_secrets(url: str) -> str:
    """Return ``url`` with its user, password, tokens and signatures hidden; a path stays as it is.

    A hidden token is a digest, so that two addresses stay two; a password, which could be guessed
    from one, is not. Parts of a path are never hidden.
    """
    if "://" not in url:
        return url
    named = _USER.sub(_hidden_user, url, count=1)
    return _FIELD.sub(lambda found: _hidden_value(found[0]), named)


def shown_uri(uri: str) -> str:
    """Return a uri that can be shown: ``printable_uri``, and ``without_secrets``."""
    return printable_uri(without_secrets(uri))


def without_secrets_in(text: str) -> str:
    """Return ``text`` with what `without_secrets` hides of each URL in it."""
    return _URL.sub(lambda found: without_secrets(found[0]), text)


def shown(text: str) -> str:
    """Return a text, such as a message, that can be shown: printable, and without secrets."""
    return printable(without_secrets_in(text))


def _percent_encoded(found: re.Match[str]) -> str:
    try:
        # A byte of a path that is not UTF-8.
        return quote(found[0], errors="surrogateescape")
    except UnicodeEncodeError:
        return quote(found[0], errors="surrogatepass")


def _hidden_user(found: re.Match[str]) -> str:
    """Hide what stands before @, unless it names a container, as in abfss://photos@account/."""
    is_name = ":" not in found[0] and not found.string.lower().startswith(("http:", "https:"))
    return found[0] if is_name else "hidden@"


def _hidden_value(field: str) -> str:
    """Hide the value of a field of a query, ``name=value``; some servers end a field by ;."""
    pieces = field.split(";")
    for place, piece in enumerate(pieces):
        name, equals, value = piece.partition("=")
        value = ";".join([value, *pieces[place + 1 :]])
        words = _words(unquote_plus(name))
        if equals and _is_secret(words, value) and not _HIDDEN.fullmatch(value):
            digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:10]
            hidden = "hidden" if words & _PASSWORDS else f"hidden-{digest}"
            return ";".join([*pieces[:place], f"{name}={hidden}"])
    return field


def _is_secret(words: set[str], value: str) -> bool:
    """Return whether a value is a secret, by the words of its name."""
    # A key may also be the name of a file in a store.
    is_key = "key" in words and (words & _OWNERS_OF_KEYS or _LONG_KEY.fullmatch(value))
    return bool(words & _SECRETS or is_key)


def _words(name: str) -> set[str]:
    """Return the words of a name such as X-Amz-Signature, access_token or apiKey."""
    apart = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name)
    return {*re.split(r"[^a-z0-9]+", apart.lower()), *re.split(r"[^a-z0-9]+", name.lower())}
