"""The interfaces that daemons need from outside: Clock, Bus, Store, Records and Containerizer."""
