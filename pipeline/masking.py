"""URLs as logs and facts may show them."""

import re
from urllib.parse import quote, unquote, urlsplit, urlunsplit

_SECRET = re.compile(
    r"sig|secret|token|passw|credential|key|auth|session|private|policy|\bse\b|\bsr\b|\bsv\b", re.IGNORECASE
)
#: Characters above which a parameter's value is taken for a secret whatever it is called.
_LONG = 40
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
