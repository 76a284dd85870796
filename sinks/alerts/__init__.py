"""The history of alerts: what fired, what resolved, who acknowledged."""
