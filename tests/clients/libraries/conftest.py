"""The suites run in the clients' own venv; test_libraries.py starts them and reads reports."""

collect_ignore = ["suites"]
