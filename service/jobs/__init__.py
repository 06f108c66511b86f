"""Work that takes longer than a request, in steps that each commit: imports."""
