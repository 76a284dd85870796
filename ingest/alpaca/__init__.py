"""The Alpaca stream: its wire, its session, and the worker that runs them."""
