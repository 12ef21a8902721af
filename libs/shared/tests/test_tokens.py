import hashlib
import re
import secrets
import zlib
from typing import Literal
from uuid import UUID

import pytest

from undercroft.shared import tokens
from undercroft.shared.ids import encode_suffix, new_uuid7
from undercroft.shared.tokens import hash_token, mint_token, parse_token

KEY = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
# Frozen: tokens already handed out must be readable for ever.
KNOWN = "uc_live_01h455vb4pex5vsknk084sn02q_" + "A" * 43 + "0VMyj3"
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_"


def neighbours_swapped(text: str) -> list[str]:
    pairs = [i for i in range(len(text) - 1) if text[i] != text[i + 1]]
    return [text[:i] + text[i + 1] + text[i] + text[i + 2 :] for i in pairs]


def one_character_changed(text: str) -> list[str]:
    return [text[:i] + c + text[i + 1 :] for i in range(len(text)) for c in ALPHABET if c != text[i]]


@pytest.mark.parametrize("mode", ["live", "test"])
def test_a_minted_token_reads_back(mode: Literal["live", "test"]):
    token = mint_token(mode, KEY)
    assert parse_token(token.text) == (mode, KEY)
    assert re.fullmatch(rf"uc_{mode}_01h455vb4pex5vsknk084sn02q_[0-9A-Za-z]{{49}}", token.text)
    assert token.id == KEY


def test_a_known_token_stays_readable():
    assert parse_token(KNOWN) == ("live", KEY)


def test_the_stored_hash_is_sha256_of_the_whole_text():
    token = mint_token("live", KEY)
    assert token.secret_hash == hash_token(token.text) == hashlib.sha256(token.text.encode()).digest()


def test_two_tokens_of_one_identifier_share_no_secret():
    made = {mint_token("live", KEY).text for _ in range(50)}
    assert len(made) == 50


def test_a_token_does_not_show_its_secret_when_printed():
    token = mint_token("live", KEY)
    assert token.text not in repr(token)
    assert repr(token.secret_hash) not in repr(token)


def test_any_other_mode_cannot_be_minted():
    with pytest.raises(ValueError, match="live or test"):
        mint_token("prod", KEY)  # type: ignore[arg-type]  # what a caller without types could pass


def test_every_single_character_typo_is_refused():
    assert [wrong for wrong in one_character_changed(KNOWN) if parse_token(wrong)] == []


def test_every_swap_of_neighbours_is_refused():
    made = [mint_token("live", new_uuid7()).text for _ in range(50)]
    assert [wrong for text in made for wrong in neighbours_swapped(text) if parse_token(wrong)] == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "uc_",
        "uc_live_",
        KNOWN + "\n",
        " " + KNOWN,
        KNOWN[:-1],
        KNOWN + "0",
        KNOWN.upper(),
        KNOWN.replace("AAAA", "AAA\u0410"),
        "uc_" + "9" * 100_000,
        "eyJhbGciOiJFUzI1NiJ9.e30.c2ln",
    ],
)
def test_other_texts_are_no_tokens(text: str):
    assert parse_token(text) is None


def test_an_identifier_that_overflows_is_refused_even_with_a_right_checksum():
    body = "uc_live_8zzzzzzzzzzzzzzzzzzzzzzzzz_" + "A" * 43
    assert parse_token(body + tokens._checksum(body)) is None


@pytest.mark.parametrize("crc", [0, 1, 61, 62, 3_843, 3_844, 2**32 - 1])
def test_the_checksum_has_a_fixed_width(crc: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(zlib, "crc32", lambda _: crc)
    text = tokens._checksum("body")
    assert len(text) == 6
    assert sum(tokens._BASE62.index(c) * 62**i for i, c in enumerate(reversed(text))) == crc


def test_the_secret_has_at_least_192_bits(monkeypatch: pytest.MonkeyPatch):
    drawn: list[str] = []

    def first(alphabet: str) -> str:
        drawn.append(alphabet)
        return alphabet[0]

    monkeypatch.setattr(secrets, "choice", first)
    mint_token("live", KEY)
    assert len(drawn) == 43
    assert len(set(drawn[0])) == 62
    assert encode_suffix(KEY) in KNOWN
