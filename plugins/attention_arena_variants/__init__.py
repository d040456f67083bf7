"""The attention variants that come with attention-arena, each a plugin like any other."""
