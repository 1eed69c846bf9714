"""A multi-agent program to look at: plain asyncio and stock OpenTelemetry, nothing of the bridge in it."""
