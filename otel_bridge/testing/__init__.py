"""For tests: destinations that answer as the real ones do."""
