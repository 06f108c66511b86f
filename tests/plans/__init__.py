"""Tests of the plans: how they are read, and what is found wrong with them."""
