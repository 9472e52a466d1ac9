"""The messages and addresses of the bus, and the records of the store.

A message has one JSON body; its AMQP ``type`` property is the class's ``TYPE``. Unknown fields are ignored, so
that an older process can read the message of a newer one. Every message is delivered at least once and, after a
crash, in any order; the docstring of each class describes how its receiver handles a repeat.

Times are in seconds since the epoch by the sender's clock; they are shown to people and never compared between
machines. Calls, events and states have the names of Mesos' v1 API.
"""
