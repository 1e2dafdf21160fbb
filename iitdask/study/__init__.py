"""One study from its file to its result."""
