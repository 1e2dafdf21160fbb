"""Finished ledgers as labelled trees, tables and files."""
