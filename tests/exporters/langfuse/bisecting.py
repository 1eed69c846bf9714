"""What delivery does with what Langfuse refuses."""

from otel_bridge.component import Settle
from otel_bridge.errors import RefusedError
from otel_bridge.model import Translation


async def bisect(settle: Settle, translation: Translation) -> list[str]:
    """As delivery does: halves, observations first."""
    try:
        await settle(translation)
    except RefusedError:
        scores = translation.scores
        if len(scores) == 1:
            return [scores[0].id]
        half = len(scores) // 2
        first = Translation(observations=translation.observations, scores=scores[:half])
        return await bisect(settle, first) + await bisect(settle, Translation(scores=scores[half:]))
    return []
