"""What is shown in a secret's place: in output as it comes, and in what is said of a job at its end."""

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

SHOWN = "***"
_SHOWN = SHOWN.encode()
#: Characters below which a text can't be masked: it would be found in innocent output everywhere.
LEAST = 6
#: base64's other two characters, as URLs have them
_URLS = str.maketrans("+/", "-_")


class Mask:
    """Knows some secrets, in the forms in which programs repeat them: as such, by line, in JSON, in URLs, in base64."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for secret in secrets for form in _forms(secret) if len(form) >= LEAST}
        # the longest first: one may be part of another
        self._texts = sorted(forms, key=lambda form: (-len(form), form))
        self._bytes = [form.encode(errors="surrogateescape") for form in self._texts]

    def __bool__(self) -> bool:
        return bool(self._texts)

    def text(self, text: str) -> str:
        """Return a text without the secrets."""
        for form in self._texts:
            text = text.replace(form, SHOWN)
        return text

    def value(self, value: Any) -> Any:
        """Return what JSON can hold without the secrets, keys included."""
        match value:
            case str():
                return self.text(value)
            case Mapping():
                return {self.text(key) if isinstance(key, str) else key: self.value(one) for key, one in value.items()}
            case list() | tuple():
                return [self.value(one) for one in value]
            case _:
                return value

    def stream(self) -> "Masking":
        """Return what masks one stream, whose bytes come cut anywhere."""
        return Masking(self._bytes)


class Masking:
    """Masks a stream of bytes; holds back no more than what may be the beginning of a secret."""

    def __init__(self, forms: Sequence[bytes]) -> None:
        """Take what is to be masked, the longest first."""
        self._forms = forms
        self._any = re.compile(b"|".join(map(re.escape, forms))) if forms else None
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Take what comes next; return what may be shown by now."""
        if self._any is None:
            return data
        whole, at, shown = self._held + data, 0, []
        held = self._beginning(whole, at)
        # a longer one that may yet come begins before this one or with it: wait for its end
        while (found := self._any.search(whole, at)) is not None and found.start() < held:
            shown += [whole[at : found.start()], _SHOWN]
            at = found.end()
            if held < at:
                held = self._beginning(whole, at)
        self._held = whole[held:]
        return b"".join([*shown, whole[at:held]])

    def end(self) -> bytes:
        """Return what was held back: nothing more comes."""
        held, self._held = self._held, b""
        return self._any.sub(_SHOWN, held) if self._any is not None else held

    def _beginning(self, data: bytes, at: int) -> int:
        """Return where, from `at` on, what may be the beginning of one of them begins; the end, where none does."""
        return min((_beginning(data, form, at) for form in self._forms), default=len(data))


def _beginning(data: bytes, form: bytes, at: int) -> int:
    place = max(at, len(data) - len(form) + 1)
    while (place := data.find(form[:1], place)) >= 0:
        if form.startswith(data[place:]):
            return place
        place += 1
    return len(data)


def _forms(secret: str) -> set[str]:
    lines = [line.strip() for line in secret.splitlines()]
    raw = {secret, secret.strip(), *lines}
    bare = secret.strip()
    encoded = {form for one in (secret, bare) for form in _in_base64(one.encode(errors="surrogateescape"))}
    in_json = {json.dumps(bare, ensure_ascii=escaped)[1:-1] for escaped in (True, False)}
    # a file's secret may be no UTF-8
    return raw | encoded | in_json | {quote(bare, safe=safe, errors="surrogateescape") for safe in ("", "/")}


def _in_base64(secret: bytes) -> Iterator[str]:
    """Yield what is the same of it wherever it stands in something longer, such as `user:password`, and it alone."""
    for before in range(3):
        whole = base64.b64encode(bytes(before) + secret).decode()
        # characters whose six bits are all the secret's own
        own = whole[-(-before * 8 // 6) : (before + len(secret)) * 8 // 6]
        for form in (whole, own) if before == 0 else (own,):
            yield form
            yield form.translate(_URLS)
