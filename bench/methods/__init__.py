"""Pretraining methods: one file each, all on the shared backbone."""
