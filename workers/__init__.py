"""What runs beside an agent: the wrapper, its programs, and the tools to start and watch them."""
