"""The operator API: it sends each request of a user to the daemons that can answer it, and combines their answers."""
