"""Your tables, one file each: model, shapes, repository, routes. What stands here is migrated, served and proven."""
