"""ServiceAccount: every active namespace has the account ``default``."""
