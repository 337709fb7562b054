"""From bytes to jobs, and from what is stored to final counts: the life of an import."""
