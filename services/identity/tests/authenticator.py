"""An authenticator in software (WebAuthn level 2, sections 6 and 7), enough to register and use one passkey."""

import base64
import hashlib
import json
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

_PRESENT_AND_VERIFIED = 0x05
_WITH_CREDENTIAL = 0x40


class Authenticator:
    """Holds one key pair for one relying party."""

    def __init__(self, origin: str, credential_id: bytes = b"credential-of-a-test") -> None:
        self.origin = origin
        self.credential_id = credential_id
        self.sign_count = 0
        self.flags = _PRESENT_AND_VERIFIED
        self._key = ec.generate_private_key(ec.SECP256R1())

    def create(self, options: dict[str, Any]) -> dict[str, Any]:
        """Answer the options of a registration."""
        numbers = self._key.public_key().public_numbers()
        cose = {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}
        credential = bytes(16) + len(self.credential_id).to_bytes(2, "big") + self.credential_id
        data = self._data(options["rp"]["id"], _WITH_CREDENTIAL) + credential + cbor2.dumps(cose)
        attestation = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})
        return self._answer(
            "webauthn.create",
            options["challenge"],
            attestationObject=encode(attestation),
            transports=["internal"],
        )

    def get(self, options: dict[str, Any], user_handle: bytes = b"") -> dict[str, Any]:
        """Answer the options of a sign-in."""
        self.sign_count += 1
        data = self._data(options["rpId"], 0)
        client_data = self._client_data("webauthn.get", options["challenge"])
        signature = self._key.sign(data + hashlib.sha256(client_data).digest(), ec.ECDSA(SHA256()))
        return self._answer(
            "webauthn.get",
            options["challenge"],
            authenticatorData=encode(data),
            signature=encode(signature),
            userHandle=encode(user_handle),
        )

    def _data(self, relying_party: str, further_flags: int) -> bytes:
        flags = bytes([self.flags | further_flags])
        return hashlib.sha256(relying_party.encode()).digest() + flags + self.sign_count.to_bytes(4, "big")

    def _client_data(self, kind: str, challenge: str) -> bytes:
        return json.dumps({"type": kind, "challenge": challenge, "origin": self.origin}).encode()

    def _answer(self, kind: str, challenge: str, **response: object) -> dict[str, Any]:
        return {
            "id": encode(self.credential_id),
            "rawId": encode(self.credential_id),
            "type": "public-key",
            "response": {"clientDataJSON": encode(self._client_data(kind, challenge)), **response},
        }


def encode(content: bytes) -> str:
    """Write base64url without padding."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
