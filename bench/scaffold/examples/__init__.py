"""Plugins that ``bench new`` copies under another name, and that the pages show."""
