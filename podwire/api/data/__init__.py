"""Facts about the Kubernetes API's types, derived by derive.py; see NOTICE for their source."""
