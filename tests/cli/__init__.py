"""Tests of the command line: real processes in an environment that holds nothing but what a test puts there."""
