"""The values of the domain: resources, tasks, agents, frameworks, offers, reservations, roles."""
