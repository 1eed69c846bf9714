"""What may change, drop or mark telemetry on its way: spans at the door, before the journal, or whole traces after."""
