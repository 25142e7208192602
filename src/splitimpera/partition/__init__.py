"""graph + cut -> a runnable head and tail."""
