"""What follows from results: summaries, comparisons, growth, break-even lengths; each a function of `Results`."""
