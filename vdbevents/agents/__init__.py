"""What makes agents know this program: a skill, and a section of a project's AGENTS.md."""
