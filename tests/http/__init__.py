"""The HTTP layer, through the application's own face."""
