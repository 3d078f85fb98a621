"""The registry plane: services, their instances and configuration, for every Nacos client and Atoll's own."""
