"""Proof by plan: that each accepted question really rides its index."""
