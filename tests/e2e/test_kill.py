"""The bridge is killed while it takes and delivers: what was acknowledged arrives all the same.

The thousand kills are by hand: `python -m tests.proofs.kills`.
"""

import pytest

from tests.proofs.kills import Totals, kill_under_load
from tests.proofs.rig import rig


@pytest.mark.slow
async def test_nothing_acknowledged_is_lost_when_it_is_killed() -> None:
    """And a SIGTERM under load repeats nothing."""
    totals = Totals(seed=1)

    with rig() as made:
        await kill_under_load(made, totals, kills=3, terms=1)

    assert totals.acknowledged
    assert totals.lost == 0
    assert totals.duplicates_of_sigterms == 0
