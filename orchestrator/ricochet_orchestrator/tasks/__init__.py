"""Tasks of a project: in `.ricochet/tasks.json`, exchanged with Task Master, done by models."""
