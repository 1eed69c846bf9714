"""One file for each detector, which is found by being here: it holds a `DETECTOR`."""
