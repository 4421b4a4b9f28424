"""Every published and nano recipe, with its source."""
