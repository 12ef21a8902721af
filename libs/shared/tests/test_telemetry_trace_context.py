import random
import re
import subprocess
import sys

import pytest

from undercroft.shared.telemetry import TraceContext, trace_context

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
VALID = f"00-{TRACE}-{SPAN}-01"

Headers = list[tuple[bytes, bytes]]


def sent(*values: str, state: tuple[str, ...] = ()) -> Headers:
    return [
        (b"host", b"undercroft"),
        *((b"traceparent", value.encode("latin-1")) for value in values),
        *((b"tracestate", value.encode("latin-1")) for value in state),
    ]


def state_of(*values: str) -> str:
    context = TraceContext.parse(sent(VALID, state=values))
    assert context.trace_id == TRACE
    return context.trace_state


def test_a_valid_trace_continues_in_a_new_span():
    context = TraceContext.parse(sent(VALID, state=("vendor=1",)))
    assert (context.trace_id, context.parent_span_id, context.is_sampled) == (TRACE, SPAN, True)
    assert context.span_id != SPAN
    assert context.headers() == {
        "traceparent": f"00-{TRACE}-{context.span_id}-01",
        "tracestate": "vendor=1",
    }


def test_without_a_trace_one_begins():
    context = TraceContext.parse([(b"host", b"undercroft"), (b"tracestate", b"vendor=1")])
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-02", context.headers()["traceparent"])
    assert (context.parent_span_id, context.trace_state) == (None, "")
    assert TraceContext.parse([], sample_new=True).headers()["traceparent"].endswith("-03")


def test_a_child_has_its_own_span_in_the_same_trace():
    context = TraceContext.parse(sent(VALID, state=("vendor=1",)))
    child = context.child()
    assert (child.trace_id, child.parent_span_id) == (TRACE, context.span_id)
    assert child.span_id not in {context.span_id, SPAN}
    assert (child.is_sampled, child.trace_state) == (True, "vendor=1")


def test_header_names_are_case_insensitive():
    context = TraceContext.parse([(b"TraceParent", VALID.encode()), (b"TRACESTATE", b"vendor=1")])
    assert (context.trace_id, context.trace_state) == (TRACE, "vendor=1")


def test_similar_header_names_are_others():
    headers = [(b"trace-parent", VALID.encode()), (b"tracepareNts", b"x"), (b"trace_paren", VALID.encode())]
    assert TraceContext.parse(headers).trace_id != TRACE


@pytest.mark.parametrize("value", [f" {VALID}", f"{VALID} ", f"\t{VALID} \t"])
def test_white_space_around_the_value_is_no_part_of_it(value: str):
    assert TraceContext.parse(sent(value)).trace_id == TRACE


@pytest.mark.parametrize(
    ("flags", "kept"), [("00", "00"), ("01", "01"), ("02", "02"), ("03", "03"), ("ff", "03"), ("fc", "00")]
)
def test_only_the_sampled_and_random_flags_are_kept(flags: str, kept: str):
    assert (
        TraceContext.parse(sent(f"00-{TRACE}-{SPAN}-{flags}")).headers()["traceparent"].endswith(f"-{kept}")
    )


@pytest.mark.parametrize(
    "value",
    [
        "",
        "00",
        VALID.upper(),
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN.upper()}-01",
        f"00-{TRACE}-{SPAN}-0A",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"0-{TRACE}-{SPAN}-01",
        f"000-{TRACE}-{SPAN}-01",
        f".0-{TRACE}-{SPAN}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}0-{SPAN}-01",
        f"00-{TRACE}-{SPAN[:-1]}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-.0",
        f"00-{TRACE}-{SPAN}-001",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE[:-1]}.-{SPAN}-01",
        f"00_{TRACE}_{SPAN}_01",
        f"{VALID}-what-the-future-will-be-like",
        f"{VALID}-",
        f"{VALID}.",
        f"{VALID},{VALID}",
        f"00-{TRACE}-{SPAN}-01\n",
        f"01-{TRACE}-{SPAN}-01what",
        f"cc-{TRACE}-{SPAN}-01.what",
        f"cc-{TRACE}-{SPAN}",
        f"00-{TRACE[:-1]}\u00e9-{SPAN}-01",
    ],
)
def test_an_invalid_value_begins_a_new_trace_and_drops_the_state(value: str):
    context = TraceContext.parse(sent(value, state=("vendor=1",)))
    assert context.trace_id != TRACE
    assert (context.parent_span_id, context.trace_state) == (None, "")


@pytest.mark.parametrize("version", ["01", "cc", "fe"])
@pytest.mark.parametrize("rest", ["", "-", "-what-the-future-will-be-like"])
def test_a_later_version_is_read_by_its_first_fields_and_sent_on_as_ours(version: str, rest: str):
    context = TraceContext.parse(sent(f"{version}-{TRACE}-{SPAN}-01{rest}"))
    assert context.headers() == {"traceparent": f"00-{TRACE}-{context.span_id}-01"}


def test_a_repeated_traceparent_begins_a_new_trace():
    other = f"00-{TRACE[::-1]}-{SPAN}-01"
    for pair in [(VALID, VALID), (VALID, other), (VALID, "")]:
        context = TraceContext.parse(sent(*pair, state=("vendor=1",)))
        assert context.trace_id not in {TRACE, TRACE[::-1]}
        assert context.trace_state == ""


def test_repeated_tracestate_headers_are_one_list_in_order():
    assert state_of("foo=1", "bar=2,baz=3") == "foo=1,bar=2,baz=3"
    assert state_of("foo=1,", ",bar=2") == "foo=1,bar=2"


def test_white_space_and_empty_members_go():
    assert state_of("foo=1 \t , \t bar=2", "", "  ") == "foo=1,bar=2"


def test_spaces_inside_a_value_stay():
    assert state_of("foo=a b") == "foo=a b"


def test_duplicate_keys_are_passed_through():
    assert state_of("foo=1,foo=1", "foo=2") == "foo=1,foo=1,foo=2"


def test_all_allowed_characters_pass():
    key = "0123456789_-*/@abcdefghijklmnopqrstuvwxyz"
    value = "".join(chr(c) for c in range(0x20, 0x7F) if chr(c) not in ",=").strip()
    assert state_of(f"{key}={value}") == f"{key}={value}"


def test_the_longest_keys_and_values_pass():
    assert state_of(f"{'a' * 256}={'v' * 256}") == f"{'a' * 256}={'v' * 256}"
    assert state_of(f"{'t' * 241}@{'v' * 14}=1") == f"{'t' * 241}@{'v' * 14}=1"


def test_32_members_pass_and_33_drop_the_whole_state():
    members = [f"bar{n:02}={n:02}" for n in range(1, 34)]
    assert state_of(",".join(members[:32])) == ",".join(members[:32])
    assert state_of(",".join(members)) == ""
    assert state_of(",".join(members[:16]), ",".join(members[16:])) == ""


@pytest.mark.parametrize(
    "member",
    [
        "foo",
        "foo=",
        "=1",
        "foo =1",
        "FOO=1",
        "foo.bar=1",
        "@foo=1",
        "_foo=1",
        f"{'a' * 257}=1",
        f"foo={'v' * 257}",
        "foo=bar=baz",
        "foo=\u00e9",
        "foo=a\x7f",
        "foo=a\tb",
        "foo=1;bar=2=3",
    ],
)
def test_an_invalid_member_drops_the_state_and_keeps_the_trace(member: str):
    assert state_of(f"first=1,{member}", "last=1") == ""


def test_ids_are_never_all_zeroes(monkeypatch: pytest.MonkeyPatch):
    drawn = iter([bytes(16), bytes.fromhex(TRACE), bytes(8), bytes.fromhex(SPAN)])
    monkeypatch.setattr(trace_context._random, "randbytes", lambda _: next(drawn))
    assert TraceContext.new() == TraceContext(trace_id=TRACE, span_id=SPAN)


def test_ids_do_not_repeat_when_the_shared_generator_is_seeded():
    random.seed(1)
    first = TraceContext.new()
    random.seed(1)
    second = TraceContext.new()
    assert first.trace_id != second.trace_id
    assert first.span_id != second.span_id


def test_a_forked_process_draws_other_ids_than_its_parent():
    program = (
        "import os; from undercroft.shared.telemetry import TraceContext; TraceContext.new(); child = os.fork(); "
        "child and os.waitpid(child, 0); print(TraceContext.new().trace_id, flush=True)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    first, second = done.stdout.split()
    assert first != second
