"""Tests of the embedded servers: real ones, in directories of their own."""
