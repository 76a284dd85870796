"""The service levels: what is promised, and what is left of it."""
