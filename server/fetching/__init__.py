"""From a URL to bytes: conditional requests, within limits, to vetted addresses only."""
