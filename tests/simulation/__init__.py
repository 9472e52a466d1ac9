"""The whole cluster in one thread under virtual time: every fault, every order of events, from one seed."""
