"""The wrapper of an agent, its adapters, and the tools to start and watch them."""
