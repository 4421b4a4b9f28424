"""Looking at data sets: what a folder holds, what its objects look like, what two sets have in common."""
