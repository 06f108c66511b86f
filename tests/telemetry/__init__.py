"""What a service tells of itself: lines, numbers, times, spans."""
