"""graph + cut -> two runnable halves."""
