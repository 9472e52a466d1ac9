"""Values that everything else is made of: resources, tasks, agents, frameworks, offers, roles."""
