"""Ways to a Dask client: this machine, SLURM, Kubernetes."""
