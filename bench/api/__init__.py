"""Python API: what the command line does, as objects.

`import bench` is enough; what a notebook needs is listed in `docs/api.md`. A function says what is wrong with its
arguments before it loads torch.
"""
