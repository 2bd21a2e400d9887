"""Service account tokens in Secrets: filled while their account exists, removed with it."""
