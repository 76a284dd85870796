"""What each vendor's bytes mean, in the canonical terms of `processors.events`."""
