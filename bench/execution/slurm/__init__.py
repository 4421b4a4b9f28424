"""SLURM: submit jobs, follow them, do them on a node."""
