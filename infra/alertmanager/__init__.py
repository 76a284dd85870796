"""Who is told of an alert, and how."""
