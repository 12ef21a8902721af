"""flagd's ``fractional`` operator, version 3: the same subject always lands in the same bucket.

``bucket = (murmur3_x86_32(canonical CBOR of the bucketing value) * total weight) >> 32``, then the first variant whose
cumulative weight exceeds it. Adding weight to the last variant therefore moves only the subjects it has to.
"""

from collections.abc import Sequence
from typing import Final

from mmh3 import mmh3_32_uintdigest

from undercroft.flags.domain.canonical_cbor import encode
from undercroft.flags.domain.work import Run, ValueTooDeepError

MAX_TOTAL_WEIGHT: Final = 2**31 - 1
_MAX_BUCKET_LENGTH: Final = 2


class Split:
    """Weighted variants, ready to be chosen from: ``ends`` are their cumulative weights."""

    __slots__ = ("ends", "total", "variants")

    def __init__(self, weighted: Sequence[tuple[object, int]]) -> None:
        ends, total = [], 0
        for _, weight in weighted:
            total += weight
            ends.append(total)
        self.ends = tuple(ends)
        self.total = total
        self.variants = tuple(variant for variant, _ in weighted)

    @property
    def is_valid(self) -> bool:
        """Whether the weights add up to something that a 32-bit hash can be spread over."""
        return 0 < self.total <= MAX_TOTAL_WEIGHT

    def choose(self, encoded: bytes) -> object:
        """Return the variant for an encoded bucketing value; the split must be valid."""
        bucket = mmh3_32_uintdigest(encoded) * self.total >> 32
        for end, variant in zip(self.ends, self.variants, strict=True):
            if bucket < end:
                return variant
        raise AssertionError  # pragma: no cover  (bucket < total == ends[-1])


def bucket_of(encoded: bytes, total: int) -> int:
    """Return the bucket of an encoded bucketing value among ``total``, for people to read."""
    return mmh3_32_uintdigest(encoded) * total >> 32


def read_split(buckets: Sequence[object]) -> Split | None:
    """Read ``[variant, weight?]`` pairs: weights are integers, 1 when absent, negative ones count as 0.

    None when a pair is malformed or the total is not in 1..2^31-1.
    """
    weighted: list[tuple[object, int]] = []
    for bucket in buckets:
        if not isinstance(bucket, list) or not 1 <= len(bucket) <= _MAX_BUCKET_LENGTH:
            return None
        weight = bucket[1] if len(bucket) == _MAX_BUCKET_LENGTH else 1
        if type(weight) is not int:
            return None
        weighted.append((bucket[0], max(0, weight)))
    split = Split(weighted)
    return split if split.is_valid else None


def encode_bucketing_value(value: object, run: Run) -> bytes | None:
    """Encode the value that subjects are told apart by, None when it cannot be encoded."""
    try:
        if isinstance(value, (str, list, dict)):
            run.charge_structure(value)
        return encode(value)
    except (TypeError, UnicodeEncodeError, ValueTooDeepError):
        return None


def default_bucketing_value(flag_key: object, targeting_key: object) -> list[object] | None:
    """Return what the shorthand (no bucketing value) buckets by, None without a targeting key."""
    return [flag_key, targeting_key] if isinstance(targeting_key, str) and targeting_key else None


def choose_fraction(value: object, buckets: Sequence[object], run: Run) -> object:
    """Return the variant for a bucketing value, null when the value or the buckets are unusable."""
    if value is None:
        return None
    encoded = encode_bucketing_value(value, run)
    split = read_split(buckets)
    return None if encoded is None or split is None else split.choose(encoded)
