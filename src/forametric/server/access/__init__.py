"""Who may use the server: accounts, log-in, sessions, roles, and the log of what was done."""
