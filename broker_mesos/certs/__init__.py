"""A development CA: makes, renews and lists the certificates of a cluster's services, for ``bmesos certs``."""
