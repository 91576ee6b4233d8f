"""Grants that their holder alone can read (decision 029): document and token are sealed to the key in its name.

By HPKE (RFC 9180) of `cryptography`, which is loaded by the first use: most installations seal nothing.
"""

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from pipeline.identity import key_of, key_text
from pipeline.messages.command import Command

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.hpke import Suite

#: What a sealed grant is for; another meaning of what is sealed gets another number.
_PURPOSE = "jobstream grant 1"


class SealingError(ValueError):
    """A grant that can't be sealed, or not be opened; the text says why."""


def seal(grant: Command) -> Command:
    """Return the grant with document and token sealed to its holder, and nowhere else; each time with other bytes.

    Raises SealingError where its holder has no key, and where its document is elsewhere, for anybody to read.
    """
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

    key = key_of(grant.holder)
    if key is None:
        raise SealingError(f"{grant.holder} has no key")
    if grant.document is None or grant.reference is not None:
        raise SealingError("its document is not in it")
    plain = f"{grant.token}\n{grant.document}".encode()
    try:
        sealed = _suite().encrypt(plain, X25519PublicKey.from_public_bytes(key), _bound_to(grant))
    except ValueError as error:
        # some texts of 43 characters are no key that anything can be sealed to
        raise SealingError(f"the key of {grant.holder} is none: {error}") from error
    return replace(grant, token="", document=None, sealed=sealed)


class HolderKey:
    """The key pair of one holder: made by its process, kept in its memory, and gone with it."""

    def __init__(self) -> None:
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

        self._private = X25519PrivateKey.generate()
        #: The public key, as the holder's name ends.
        self.text = key_text(self._private.public_key().public_bytes_raw())

    def open(self, grant: Command) -> Command:
        """Return a sealed grant with its document and token; what stood there beside the seal counts for nothing.

        Raises SealingError where it was sealed for another holder, job or attempt, or was changed.
        """
        from cryptography.exceptions import InvalidTag

        if grant.sealed is None:
            raise SealingError("it is not sealed")
        try:
            plain = _suite().decrypt(grant.sealed, self._private, _bound_to(grant))
            token, _, document = plain.decode().partition("\n")
        except (InvalidTag, ValueError) as error:
            raise SealingError("it was not sealed for this holder, job and attempt") from error
        return replace(grant, token=token, document=document, reference=None)


@cache
def _suite() -> "Suite":
    from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

    return Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)


def _bound_to(grant: Command) -> bytes:
    """Return what a seal is bound to: whoever gives it out for anything else breaks it."""
    return "\0".join((_PURPOSE, grant.holder, grant.job_id, str(grant.attempt))).encode()
