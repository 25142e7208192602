"""What export writes and the two programs read: the parts of a network for each machine, and what joins them."""
