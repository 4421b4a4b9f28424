"""Turn a request into specifications, and these into jobs."""
