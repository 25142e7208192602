"""What would happen: accuracy, latency and loss of each plan."""
