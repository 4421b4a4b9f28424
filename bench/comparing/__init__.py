"""Compare stored runs object by object; nothing is run.

No torch is needed.
"""
