"""What lives beside the flow: the viewer, the probes of containers."""
