"""How times are written."""

import pytest

from otel_bridge.moments import iso

NS = 1_795_890_488_315_912_700


@pytest.mark.parametrize(
    ("ns", "digits", "written"),
    [
        (NS, 3, "2026-11-28T18:28:08.315Z"),
        (NS, 6, "2026-11-28T18:28:08.315912Z"),
        (NS, 9, "2026-11-28T18:28:08.315912700Z"),
        (999_999_999, 3, "1970-01-01T00:00:00.999Z"),
        (-(10**30), 3, "1970-01-01T00:00:00.000Z"),
        (10**30, 3, "2554-07-21T23:34:33.709Z"),
    ],
)
def test_a_time_is_cut_and_never_rounded_up_or_refused(ns: int, digits: int, written: str) -> None:
    assert iso(ns, digits) == written
