"""The engine: plans stages, runs their blocks, and keeps what they fill."""
