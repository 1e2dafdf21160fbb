"""What the papers say, as stages of work and small decisions; knows nothing of where it runs."""
