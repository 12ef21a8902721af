"""E-mail addresses: which ones are taken, and when two are the same."""

import re
from typing import Final

_LONGEST: Final = 254  # RFC 5321 section 4.5.3.1.3, without the angle brackets
_LONGEST_LOCAL_PART: Final = 64
# The dot-atom of RFC 5322 section 3.2.3 and a host name with a dot; quoted local parts are in no use.
_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS = re.compile(rf"(?P<local>{_ATOM}(?:\.{_ATOM})*)@(?P<domain>{_LABEL}(?:\.{_LABEL})+)")


def normalise_address(text: str) -> str:
    """Return an address as mail is sent to it: trimmed, an international domain as its A-labels (RFC 5890).

    Raises `ValueError`.
    """
    local, separator, domain = text.strip().rpartition("@")
    if not separator or len(text) > 4 * _LONGEST:
        raise ValueError("is no address")
    try:
        ascii_domain = domain if domain.isascii() else domain.encode("idna").decode("ascii")
    except UnicodeError:
        raise ValueError("is no address") from None
    address = f"{local}@{ascii_domain}"
    if len(address) > _LONGEST or len(local) > _LONGEST_LOCAL_PART or not _ADDRESS.fullmatch(address):
        raise ValueError("is no address")
    return address


def email_key(address: str) -> str:
    """Return what addresses are compared by. Only case is ignored: dots and tags tell mailboxes apart somewhere."""
    return address.lower()
