"""The ladder: this service beside what one would write by hand or take instead, over the same million rows: `make bench`."""
