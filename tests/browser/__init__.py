"""What citizens and officers meet in a real browser, before a web process and a worker process."""
