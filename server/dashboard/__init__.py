"""The dashboard: pages made on the server, for whoever runs this at three in the morning.

Handlers ask the same services as the API. Nothing comes from another host, and no script or
style stands in a page: feeds are hostile text.
"""
