"""Five times what the bridge sustains, under a limit on its memory: it goes on, and keeps what it said OK to.

    python -m tests.proofs.overload --seconds 600
    python -m tests.proofs.overload --seconds 60 --measure 20

First the sustained maximum is measured: senders as fast as they are answered, over the time until all of it was
delivered. Then requests leave at five times that, whatever they are answered, and none is sent twice. The journal is
small, so that it is full for most of the time: what is refused then is the overload.
"""

import asyncio

from tests.e2e.load import BODIES, Body
from tests.proofs.ladder import MAX, measured
from tests.proofs.limits import Limit, memory_limit
from tests.proofs.rig import Rig, arguments, rig, verdict

LEAST_GOODPUT = 0.8
TIMES = 5


async def overload(rig: Rig, limit: Limit, body: Body, seconds: float, measure_s: float) -> list[str]:
    """Returns what was not shown."""
    await measured(rig, body, MAX, measure_s / 4, sender=1)
    base = await measured(rig, body, MAX, measure_s, sender=2)
    print(f"without overload:\n{base}\noverload, {TIMES * base.sustained:.0f} spans/s under {limit.how}:", flush=True)
    step = await measured(rig, body, TIMES * base.sustained, seconds, sender=3)
    print(f"{step}\n    goodput {step.goodput / base.sustained:.0%} of the sustained maximum")
    failures = []
    if limit.kills or not rig.bridge.running:
        failures.append("it was killed for its memory")
    if step.lost or base.lost:
        failures.append(f"{step.lost + base.lost} spans were lost")
    if step.goodput < LEAST_GOODPUT * base.sustained:
        failures.append(f"goodput fell below {LEAST_GOODPUT:.0%}")
    return failures


def main() -> None:
    parser = arguments("overload", __doc__)
    parser.add_argument("--seconds", type=float, default=60, help="of overload")
    parser.add_argument("--measure", type=float, default=30, help="seconds for the maximum")
    parser.add_argument("--body", choices=BODIES, default="mid")
    parser.add_argument("--memory", type=int, default=256, help="in MiB")
    parser.add_argument("--journal", default="256MiB", help="its max_bytes")
    given = parser.parse_args()
    with memory_limit(given.memory) as limit, rig(under=limit.under, max_bytes=given.journal) as made:
        failures = asyncio.run(overload(made, limit, given.body, given.seconds, given.measure))
    verdict(failures)


if __name__ == "__main__":
    main()
