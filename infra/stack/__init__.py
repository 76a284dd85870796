"""The whole pipeline on one machine: what runs, in which order, and what it looks like."""
