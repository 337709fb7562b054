"""Subscriptions: what is fetched, when, and what makes an import of it start."""
