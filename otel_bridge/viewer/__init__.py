"""The local page and the JSON API under it: what is in the store, for a browser on this machine."""
