"""The MCP server: Ricochet in the chat of an editor (docs/adr/025)."""
