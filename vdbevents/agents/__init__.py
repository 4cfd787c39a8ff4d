"""What makes agents know this program: the configuration of MCP clients, a skill, a section of AGENTS.md."""
