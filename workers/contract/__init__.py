"""Types that a wrapper, its agent and the server share."""
