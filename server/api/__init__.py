"""The HTTP interface: routes, what they take and answer, and what guards the door."""
