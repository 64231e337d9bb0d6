"""A project's tasks as issues of GitHub and GitLab; docs/adr/026-tasks-as-issues.md."""
