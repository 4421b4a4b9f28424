"""Rooms for semantic segmentation: their base, and procedural rooms.

`roomset` is the base of all data sets of rooms. `styles` defines the six areas, `shell` builds floor, walls, doors and
windows, `furnish` adds furniture, `generate` samples a room, `dataset` is the data set `shapes-rooms`.
"""
