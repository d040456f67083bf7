"""The page: pictures taken apart, sections, scripts, the index."""
