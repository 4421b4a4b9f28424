"""The accuracy check: its suite is run anew and judged against a baseline."""
