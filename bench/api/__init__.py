"""Studies, results and encoders as Python objects: what the command line does, for notebooks and scripts.

`import bench` is enough; what a notebook needs is listed in `docs/api.md`. A function says what is wrong with its
arguments before it loads torch.
"""
