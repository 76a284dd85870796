"""From a vendor's socket to the raw topics: nothing is judged here, everything is kept."""
