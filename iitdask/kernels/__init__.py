"""Compiled arithmetic on arrays and bitmasks; knows nothing of files, Dask or labels."""
