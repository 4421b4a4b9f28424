"""Rooms for semantic segmentation: what all sets of rooms share (`roomset`), and procedural rooms.

`styles` says how the six areas differ, `shell` builds floor, walls and what is set into them, `furnish` puts
furniture in, `generate` samples a room, `dataset` is the plug-in `shapes-rooms`.
"""
