"""Faults, servers killed and stopped, floods, monsters, clocks that are off."""
