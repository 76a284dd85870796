"""History: every topic into ClickHouse, exactly once in effect."""
