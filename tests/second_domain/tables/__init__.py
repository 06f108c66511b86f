"""What goes to service/tables/."""
