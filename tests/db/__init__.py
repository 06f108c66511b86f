"""The database layer, against a real PostgreSQL."""
