"""What both sides stand on; imports neither of them."""
