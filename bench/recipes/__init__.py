"""Every published and nano recipe in one table, each with its source."""
