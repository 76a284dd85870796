"""From raw ticks to verdicts, routes and prices: pure functions under thin Faust agents."""
