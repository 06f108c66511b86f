"""A boat hire: what the package serves when the library is deleted. Its files are copied into a project, and run there."""
