"""Answers kept in Redis, and forgotten when a row is written: see docs/decisions/a-cache-that-is-never-wrong.md."""
