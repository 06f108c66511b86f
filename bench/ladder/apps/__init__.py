"""What the ladder compares: each module makes one application, which a process of its own serves."""
