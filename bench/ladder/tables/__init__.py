"""The table files that Shelfmark serves in the ladder, in the place of `service/tables/`."""
