"""The ticket domain over a Session, without web, processes, environment or commits."""
