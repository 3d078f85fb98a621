"""The atoll command."""
