"""What may change, drop or mark telemetry on its way: spans at the door, or whole traces after the journal."""
