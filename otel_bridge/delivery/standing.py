"""How a lane stands with its destination: whether that takes anything, what it has told of itself, and who is told."""

from collections.abc import Callable, Mapping
from typing import Any

from otel_bridge.component import Probe
from otel_bridge.delivery.gate import Gate
from otel_bridge.delivery.surroundings import Surroundings
from otel_bridge.errors import ConsumeError, ParkedError
from otel_bridge.telemetry import logger, printable


class Standing:
    """Of one exporter, for one tenant.

    parked: why nothing can be delivered until somebody acts, in a word; None while something can.
    trouble: what the destination said last, or what became of the attempt; None since it took something.
    destination: what it has told of itself; None as long as it has not, or where nobody asks.
    unanswered: how often that was asked in vain.
    """

    def __init__(self, exporter: str, tenant: str) -> None:
        self.parked: str | None = None
        self.trouble: str | None = None
        self.destination: Mapping[str, Any] | None = None
        self.unanswered = 0
        self._told = False  # whoever reads the log, of the trouble
        self._exporter = exporter
        self._tenant = tenant

    def tell(self, why: ConsumeError, tries: int) -> None:
        """Say once that it does not work; not of a first failure, which is common and soon over."""
        self.trouble = printable(str(why))
        reason = why.reason if isinstance(why, ParkedError) else None
        if reason is not None and reason != self.parked:
            self._told = True
            logger(self._exporter).error(
                "nothing can be delivered until somebody acts; everything is kept",
                tenant=self._tenant,
                reason=reason,
                why=self.trouble,
            )
        elif tries > 1 and not self._told:
            self._told = True
            logger(self._exporter).warning(
                "not delivered, trying again until it is; everything is kept", tenant=self._tenant, why=self.trouble
            )
        self.parked = reason

    def recover(self) -> None:
        """It works."""
        self.parked = self.trouble = None
        if self._told:
            self._told = False
            logger(self._exporter).info("delivering again", tenant=self._tenant)

    async def introduce(self, probe: Probe, around: Surroundings, gate: Gate, is_used: Callable[[], bool]) -> None:
        """Ask until the destination has answered: of a wrong key or address somebody is to hear before the first item.

        It holds up nothing. is_used: whether items go there, which tell by themselves what it takes.
        """
        said = None
        while await gate.passed(around.stopping):
            try:
                async with around.probing:
                    self.destination = await probe()
            except ConsumeError as error:
                failed = error
            except Exception:  # noqa: BLE001 - a bug in it must not stop the flow
                logger(self._exporter).exception("the destination can not be asked", tenant=self._tenant)
                return
            else:
                self.unanswered = 0
                if said is not None and self.trouble == said:
                    self.recover()
                return
            self.unanswered += 1
            said = printable(str(failed))
            if not is_used():
                if isinstance(failed, ParkedError):
                    self.tell(failed, self.unanswered)
                else:  # nothing waits for it: for whoever asks
                    self.parked, self.trouble = None, said
            if await around.clock.within(around.pace.after(failed, self.unanswered), around.stopping.wait()):
                return
