"""URLs, and texts with secrets in them, as logs, facts and listings may show them."""

import re
from urllib.parse import quote, unquote, urlsplit, urlunsplit

_SECRET = re.compile(
    r"sig|secret|token|passw|credential|key|auth|session|private|policy|\bse\b|\bsr\b|\bsv\b", re.IGNORECASE
)
#: Characters above which a parameter's value is taken for a secret whatever it is called.
_LONG = 40
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,20}://[^\s\"'<>\\\\`]+")
_NAMED = r"(?:secret|token|passw|credential|api[-_]?key|access[-_]?key|private|signature|auth(?!ors?\b))[\w.-]{0,40}"
#: A secret beside its name, in JSON, in JSON within JSON, in a header or a command line; the value may be cut off.
_PAIR = re.compile(
    rf"({_NAMED}(?:\\*[\"'])?\s*[:=]\s*)"
    r"(?:(?:Bearer|Basic)\s+\S+|\"(?:[^\"\\]|\\.)*(?:\"|$)|'[^']*(?:'|$)|\\+\".*?(?:\\+\"|$)|[^\s,;}&\]]+)",
    re.IGNORECASE | re.DOTALL,
)
#: Characters of a URL that are shown.
_SHOWN = 500


def masked(url: str) -> str:
    """Return a URL without user, password, fragment, and without the values of parameters that may be secrets.

    >>> masked("https://me:pw@host/a?id=5&X-Amz-Signature=abc#x")
    'https://host/a?id=5&X-Amz-Signature=***'
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(not a URL)"
    host = parts.netloc.rpartition("@")[2]
    query = "&".join(_parameter(one) for one in re.split("[&;]", parts.query)) if parts.query else ""
    text = urlunsplit((parts.scheme, host, parts.path, query, ""))
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def without_secrets(text: str, url: str) -> str:
    """Return a text, such as an error message, in which `url` and the secrets in it are masked."""
    shown = masked(url)
    for form in {url, unquote(url), quote(url, safe=":/?&=%@")}:
        text = text.replace(form, shown)
    for secret in _secrets(url):
        text = text.replace(secret, "***")
    return text


def masked_text(text: str) -> str:
    """Return a text of unknown origin in which URLs and what is named like a secret are masked.

    >>> masked_text('{"password": "x y", "url": "s3://me:pw@b/k"} token=abc; n=1')
    '{"password": ***, "url": "s3://b/k"} token=***; n=1'
    """
    return _PAIR.sub(r"\1***", _URL.sub(lambda found: masked(found[0]), text))


def _secrets(url: str) -> list[str]:
    try:
        parts = urlsplit(url)
        found = [parts.password, parts.username] if parts.password else []
    except ValueError:
        return []
    for one in re.split("[&;]", parts.query):
        name, _, value = one.partition("=")
        if _is_secret(name, value):
            found.append(value)
    forms = {form for one in found if one for form in (one, unquote(one), quote(one, safe=""))}
    return sorted((form for form in forms if len(form) >= 3), key=len, reverse=True)


def _parameter(text: str) -> str:
    name, equals, value = text.partition("=")
    if not equals:
        return name if len(name) <= _LONG else "***"
    return f"{name}=***" if _is_secret(name, value) else text


def _is_secret(name: str, value: str) -> bool:
    return bool(value) and (len(value) > _LONG or _SECRET.search(unquote(name)) is not None)
