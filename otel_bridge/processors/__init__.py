"""What changes, drops or marks telemetry on its way: spans at the door, or whole traces after the journal."""
