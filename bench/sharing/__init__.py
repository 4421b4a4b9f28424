"""Share stored runs: bundles, their verification, merging, leaderboards.

Files of other people are untrusted: nothing of them is unpacked to disk, unpickled or believed before it was checked.
"""
