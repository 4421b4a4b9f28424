"""Run jobs in their own processes: worker and local pool."""
