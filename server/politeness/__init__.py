"""Feedmill's own manners, measured: weeks of polls against a publisher that keeps a log.

The real server side fetches over real loopback HTTP, from real stores; only the time is simulated.
Criteria read the publisher's log, as the feed reader score of rachelbythebay.com/w/feed/ does.
"""
