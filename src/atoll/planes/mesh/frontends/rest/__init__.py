"""The mesh plane's own API: typed endpoints, declared once, answered by ``service.mesh``."""
