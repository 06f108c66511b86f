"""What a table answers, and why it doesn't answer the rest. Pure: no I/O, no framework."""
