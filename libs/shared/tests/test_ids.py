import re
import subprocess
import sys
import threading
import time
from typing import Annotated, Literal
from uuid import UUID

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from undercroft.shared import ids
from undercroft.shared.ids import IdOf, InvalidIdError, TypeId, decode_suffix, encode_suffix, new_uuid7

# The public vectors of TypeID 0.3.0 (jetify-com/typeid, spec/valid.yml and spec/invalid.yml), restated.
VALID = [
    ("00000000000000000000000000", "", "00000000-0000-0000-0000-000000000000"),
    ("00000000000000000000000001", "", "00000000-0000-0000-0000-000000000001"),
    ("0000000000000000000000000a", "", "00000000-0000-0000-0000-00000000000a"),
    ("0000000000000000000000000g", "", "00000000-0000-0000-0000-000000000010"),
    ("00000000000000000000000010", "", "00000000-0000-0000-0000-000000000020"),
    ("7zzzzzzzzzzzzzzzzzzzzzzzzz", "", "ffffffff-ffff-ffff-ffff-ffffffffffff"),
    ("prefix_0123456789abcdefghjkmnpqrs", "prefix", "0110c853-1d09-52d8-d73e-1194e95b5f19"),
    ("prefix_01h455vb4pex5vsknk084sn02q", "prefix", "01890a5d-ac96-774b-bcce-b302099a8057"),
    ("pre_fix_00000000000000000000000000", "pre_fix", "00000000-0000-0000-0000-000000000000"),
]
INVALID = {
    "prefix-uppercase": "PREFIX_00000000000000000000000000",
    "prefix-numeric": "12345_00000000000000000000000000",
    "prefix-period": "pre.fix_00000000000000000000000000",
    "prefix-non-ascii": "préfix_00000000000000000000000000",
    "prefix-spaces": "  prefix_00000000000000000000000000",
    "prefix-64-chars": "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijkl_00000000000000000000000000",
    "separator-empty-prefix": "_00000000000000000000000000",
    "separator-empty": "_",
    "suffix-short": "prefix_1234567890123456789012345",
    "suffix-long": "prefix_123456789012345678901234567",
    "suffix-spaces": "prefix_1234567890123456789012345 ",
    "suffix-uppercase": "prefix_0123456789ABCDEFGHJKMNPQRS",
    "suffix-hyphens": "prefix_123456789-123456789-123456",
    "suffix-wrong-alphabet": "prefix_ooooooiiiiiiuuuuuuulllllll",
    "suffix-ambiguous-crockford": "prefix_i23456789ol23456789oi23456",
    "suffix-hyphens-crockford": "prefix_123456789-0123456789-0123456",
    "suffix-overflow": "prefix_8zzzzzzzzzzzzzzzzzzzzzzzzz",
    "prefix-underscore-start": "_prefix_00000000000000000000000000",
    "prefix-underscore-end": "prefix__00000000000000000000000000",
    "empty": "",
    "prefix-empty": "prefix_",
    # Not among the public vectors: what Python's own int() and regular expressions would let through.
    "trailing-newline": "prefix_00000000000000000000000000\n",
    "digit-separator": "prefix_0000000000000_000000000000",
    "arabic-digits": "prefix_0000000000000000000000000\u0660",
}

OrganizationId = Annotated[UUID, IdOf("org")]
ORG = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
ORG_TEXT = "org_01h455vb4pex5vsknk084sn02q"
organization_id = TypeAdapter[UUID](OrganizationId)


class Organization(BaseModel):
    id: OrganizationId
    parent_id: OrganizationId | None = None
    children: dict[OrganizationId, str] = {}


@pytest.mark.parametrize(("text", "prefix", "uuid"), VALID)
def test_public_valid_vectors_read_and_write(text: str, prefix: str, uuid: str):
    assert TypeId.parse(text) == TypeId(prefix, UUID(uuid))
    assert str(TypeId(prefix, UUID(uuid))) == text


@pytest.mark.parametrize("text", INVALID.values(), ids=INVALID.keys())
def test_public_invalid_vectors_are_refused(text: str):
    with pytest.raises(InvalidIdError):
        TypeId.parse(text)


@given(st.uuids(), st.from_regex(r"([a-z]([a-z_]{0,61}[a-z])?)?", fullmatch=True))
def test_every_uuid_survives_the_round_trip(uuid: UUID, prefix: str):
    assert TypeId.parse(str(TypeId(prefix, uuid))) == TypeId(prefix, uuid)
    assert decode_suffix(encode_suffix(uuid)) == uuid


@pytest.mark.parametrize("text", ["", "8zzzzzzzzzzzzzzzzzzzzzzzzz", "0123456789ABCDEFGHJKMNPQRS"])
def test_a_wrong_suffix_is_refused(text: str):
    with pytest.raises(InvalidIdError, match="26 characters"):
        decode_suffix(text)


@pytest.mark.parametrize("prefix", ["Org", "_org", "org_", "org1", "a" * 64, "org\n"])
def test_a_wrong_prefix_is_refused(prefix: str):
    with pytest.raises(InvalidIdError, match="63 letters"):
        TypeId.new(prefix)
    with pytest.raises(InvalidIdError, match="63 letters"):
        IdOf(prefix)


def test_another_prefix_than_expected_is_refused_without_repeating_it():
    with pytest.raises(InvalidIdError, match="org_") as caught:
        TypeId.parse("secretkind_01h455vb4pex5vsknk084sn02q", expect="org")
    assert "secretkind" not in str(caught.value)
    assert TypeId.parse(ORG_TEXT, expect="org").uuid == ORG


def test_a_uuid7_carries_version_variant_and_time():
    before = time.time_ns() // 1_000_000
    made = new_uuid7()
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert before <= made.int >> 80 <= before + 1_000


def test_uuid7s_of_several_threads_are_distinct_and_each_thread_sees_them_grow():
    made: list[list[UUID]] = [[] for _ in range(4)]
    threads = [
        threading.Thread(target=lambda into=into: into.extend(new_uuid7() for _ in range(2_000)))
        for into in made
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(batch == sorted(batch) for batch in made)
    assert len(set().union(*made)) == 8_000


def test_ids_draw_their_randomness_anew_when_it_is_used_up():
    tails = {new_uuid7().int & 0xFFFF_FFFF for _ in range(3 * ids._DRAWS_AT_ONCE)}
    assert len(tails) > 3 * ids._DRAWS_AT_ONCE - 2


def test_a_forked_process_makes_other_ids_than_its_parent_even_if_a_thread_was_making_one():
    program = (
        "import os; from undercroft.shared.ids import _clock, new_uuid7; first = new_uuid7(); "
        "held = _clock._lock; held.acquire(); child = os.fork(); child and os.waitpid(child, 0); "
        "child and held.release(); made = new_uuid7(); assert made > first; "
        "print(made.int & 0xFFFF_FFFF, flush=True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=20
    )
    in_child, in_parent = done.stdout.split()
    assert in_child != in_parent


def test_a_clock_set_back_keeps_the_order(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ids, "_clock", ids._Clock())
    times = iter([1_700_000_000_000, 1_700_000_000_000, 1_600_000_000_000, 1_700_000_000_001])
    monkeypatch.setattr(time, "time_ns", lambda: next(times) * 1_000_000)
    made = [new_uuid7() for _ in range(4)]
    assert made == sorted(made)
    assert [uuid.int >> 80 for uuid in made] == [1_700_000_000_000] * 3 + [1_700_000_000_001]


def test_a_full_counter_borrows_the_next_millisecond(monkeypatch: pytest.MonkeyPatch):
    clock = ids._Clock()
    monkeypatch.setattr(ids, "_clock", clock)
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_000 * 1_000_000)
    first = new_uuid7()
    clock._counter = ids._COUNTER_LIMIT - 2
    last, borrowed = new_uuid7(), new_uuid7()
    assert first < last < borrowed
    assert borrowed.int >> 80 == 1_700_000_000_001


def test_a_field_reads_a_typeid_and_holds_a_uuid():
    read = Organization.model_validate_json(f'{{"id": "{ORG_TEXT}", "children": {{"{ORG_TEXT}": "a"}}}}')
    assert (read.id, read.children) == (ORG, {ORG: "a"})
    assert Organization(id=TypeId("org", ORG)).id == Organization(id=ORG).id == ORG


def test_a_field_writes_a_typeid_to_json_and_a_uuid_to_python():
    organization = Organization(id=ORG, parent_id=ORG, children={ORG: "a"})
    wire = {"id": ORG_TEXT, "parent_id": ORG_TEXT, "children": {ORG_TEXT: "a"}}
    assert organization.model_dump(mode="json") == wire
    assert Organization.model_validate_json(organization.model_dump_json()) == organization
    assert organization.model_dump()["id"] == ORG


@pytest.mark.parametrize(
    "value",
    ["usr_01h455vb4pex5vsknk084sn02q", str(ORG), "<script>", "", 7, None, b"x", TypeId("usr", ORG)],
)
def test_a_field_refuses_anything_else_with_a_message_that_is_safe_and_clear(value: object):
    with pytest.raises(ValidationError) as caught:
        organization_id.validate_python(value)
    error = caught.value.errors()[0]
    assert error["type"] == "type_id"
    assert error["msg"] == f"Input should be an identifier like {ORG_TEXT}"


@pytest.mark.parametrize("mode", ["validation", "serialization"])
def test_the_json_schema_has_a_pattern_that_its_example_matches(
    mode: Literal["validation", "serialization"],
):
    schema = organization_id.json_schema(mode=mode)
    assert schema == {
        "type": "string",
        "pattern": "^org_[0-7][0-9a-hjkmnp-tv-z]{25}$",
        "examples": [ORG_TEXT],
    }
    assert re.search(schema["pattern"], schema["examples"][0])


async def test_fastapi_takes_it_in_the_path_and_the_query_and_answers_with_it():
    app = FastAPI()

    @app.get("/organizations/{organization}")
    async def read(organization: OrganizationId, parent: OrganizationId | None = None) -> Organization:
        return Organization(id=organization, parent_id=parent)

    async with AsyncClient(transport=ASGITransport(app), base_url="http://test") as client:
        answer = await client.get(f"/organizations/{ORG_TEXT}", params={"parent": ORG_TEXT})
        refused = await client.get(f"/organizations/{ORG}")
    assert answer.json() == {"id": ORG_TEXT, "parent_id": ORG_TEXT, "children": {}}
    assert refused.status_code == 422
    parameter = app.openapi()["paths"]["/organizations/{organization}"]["get"]["parameters"][0]
    assert parameter["schema"]["pattern"].startswith("^org_")
