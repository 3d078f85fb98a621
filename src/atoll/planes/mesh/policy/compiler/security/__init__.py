"""Who may speak to whom: TLS, tokens, authorisation."""
