"""Tables, plots and files made from stored results. Nothing here trains, and nothing here imports torch."""
