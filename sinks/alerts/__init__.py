"""The history of alerts: what fired, what was muted, what resolved, who acknowledged."""
