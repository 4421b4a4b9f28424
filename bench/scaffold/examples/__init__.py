"""Example plugins, copied by ``bench new`` and shown in docs."""
