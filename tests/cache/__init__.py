"""Tests of the cache, and the tools with which it is held against the database."""
