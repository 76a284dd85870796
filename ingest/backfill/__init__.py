"""Fills the gaps of the stream from the vendor's history."""
