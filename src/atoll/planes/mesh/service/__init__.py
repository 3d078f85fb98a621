"""The mesh's control loops: follow the store and the sources of services, compile, push."""
