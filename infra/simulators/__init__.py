"""Two vendors on loopback, wire-true, over one made-up market. They import nothing of ours."""
