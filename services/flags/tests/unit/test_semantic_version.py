import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openfeature.contrib.tools.flagd.core.targeting.custom_ops import sem_ver

from undercroft.flags.domain.semantic_version import COMPARISONS, compare_versions, parse_version

parts = st.sampled_from(["0", "1", "2", "10", "01", "", "x", "9" * 5000])
identifiers = st.lists(
    st.sampled_from(["0", "1", "10", "01", "rc", "alpha", "rc1", "-", "x-1", "", "é", "²"]), max_size=3
)
versions = (
    st.builds(
        lambda prefix, numbers, prerelease, build: (
            prefix
            + ".".join(numbers)
            + ("-" + ".".join(prerelease) if prerelease else "")
            + ("+" + ".".join(build) if build else "")
        ),
        st.sampled_from(["", "v", "V", " ", "vv"]),
        st.lists(parts, min_size=1, max_size=4),
        identifiers,
        identifiers,
    )
    | st.sampled_from(["1.0.0", "1.0.0-rc.1", "2.1.0", "1.0.0+b", "1", "1.2", "1-a", "1.2+b", ""])
    | st.text(max_size=6)
    | st.integers(-2, 3)
    | st.floats()
    | st.none()
    | st.booleans()
    | st.just([1])
)


@given(versions, st.sampled_from([*COMPARISONS, "==", ""]), versions)
def test_any_comparison_is_that_of_the_reference(left: Any, comparison: str, right: Any):
    logging.disable(logging.CRITICAL)
    expected = sem_ver({}, left, comparison, right)
    logging.disable(logging.NOTSET)

    assert compare_versions(left, comparison, right) is expected


@pytest.mark.parametrize(
    ("left", "comparison", "right", "expected"),
    [
        ("1.0.0", "=", "1.0.0", True),
        ("1.0.0", "!=", "1.0.0", False),
        ("1.0.0-alpha", "<", "1.0.0", True),
        ("1.0.0-alpha", "<", "1.0.0-alpha.1", True),
        ("1.0.0-2", "<", "1.0.0-10", True),
        ("1.0.0-10", "<", "1.0.0-a", True),
        ("1.0.0+a", "=", "1.0.0+b", True),
        ("v1", "=", "1.0.0", True),
        (1, "=", "1.0.0", True),
        (1.2, "=", "1.2.0", True),
        ("1.9.0", "^", "1.0.0", True),
        ("1.9.0", "~", "1.0.0", False),
        ("1.0.9", "~", "1.0.0", True),
        ("2.0.0.0", ">", "1.0.0", None),
        ("1.0.0", ">>", "1.0.0", None),
        ("1.0.0", 1, "1.0.0", None),
        ("1.0.0\n", "=", "1.0.0", None),
    ],
)
def test_comparisons(left: object, comparison: object, right: object, expected: object):
    assert compare_versions(left, comparison, right) is expected


def test_long_versions_are_read_but_not_kept():
    long = "1.0.0-" + "a" * 100

    assert parse_version(long) == (1, 0, 0, 0, ((1, 0, "a" * 100),))
    assert parse_version("9" * 5000) is None
