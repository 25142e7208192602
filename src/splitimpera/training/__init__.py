"""Training what a split adds to a network; the network's own weights stay as they are."""
