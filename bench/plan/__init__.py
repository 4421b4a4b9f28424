"""From a request to specifications, and from specifications to jobs."""
