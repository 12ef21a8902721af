"""Every deployable's own secrets, derived from the one master secret of the data directory."""

import base64
from collections.abc import Iterable

from pydantic import SecretStr

from undercroft.shared.auth import generate_principal_keys
from undercroft.shared.settings import derive_key


class DerivedSecrets:
    """The secrets of the deployables of these names; the same master gives the same secrets."""

    def __init__(self, master: str, names: Iterable[str]) -> None:
        self._master = SecretStr(master)
        self._principal_keys = generate_principal_keys(self._master, tuple(names))

    def secret_key(self, name: str) -> str:
        """Return a deployable's `secret_key`."""
        return self._derive(f"secret_key:{name}")

    def principal_keys(self, name: str) -> dict[str, str]:
        """Return the pairwise keys that a deployable signs and verifies principals with."""
        return self._principal_keys[name]

    def database_password(self, name: str) -> str:
        """Return the password of a service's role; base64url, so no character of it needs quoting."""
        return self._derive(f"database_password:{name}")

    def _derive(self, label: str) -> str:
        return base64.urlsafe_b64encode(derive_key(self._master, label)).rstrip(b"=").decode()
