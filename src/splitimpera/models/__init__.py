"""Networks and data: the reference networks, loading the user's own, data sets."""
