"""The fetch side: feeds in, jobs out."""
