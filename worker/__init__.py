"""The load side: jobs in, documents out."""
