"""The tests: same paths as the source, on a real PostgreSQL and a real Redis."""
