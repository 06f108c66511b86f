"""Tests of the invented library."""
