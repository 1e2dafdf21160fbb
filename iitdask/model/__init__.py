"""Substrates, candidate systems, gates, example networks and file formats."""
