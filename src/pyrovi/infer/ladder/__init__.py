"""`engine="auto"`: what it climbs, and what it judges by."""
