"""Yahoo Finance: its wire, its client, and the worker that polls."""
