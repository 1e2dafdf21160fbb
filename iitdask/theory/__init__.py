"""Theories as recipes: stages of work and small decisions, without knowing where they run."""
