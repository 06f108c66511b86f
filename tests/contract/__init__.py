"""The contract, tried on small tables in plain Python: no database is needed to say what an index can serve."""
