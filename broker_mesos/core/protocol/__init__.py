"""Messages, addresses and records: what travels over the bus and what is stored.

One JSON body per message; the AMQP ``type`` property is the class's ``TYPE``. Unknown fields are ignored, so
that an older process reads the message of a newer one. Each class says how its receiver treats a repeat:
every message is delivered at least once and, after a crash, in any order.

Times are seconds since the epoch by the sender's clock; they are shown to people and never compared between
machines. Names of calls, events and states are those of Mesos' v1 API.
"""
