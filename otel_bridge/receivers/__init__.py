"""Receivers: where batches come in; one file (or folder) each."""
