"""What goes to tests/factories/."""
