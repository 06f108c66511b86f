"""Shelfmark: a REST data service in which an index is a question the API answers."""
