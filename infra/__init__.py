"""What every stage stands on, and what runs them: it imports no stage."""
