"""Jobs in processes of their own: the worker, the local pool, and what they compute."""
