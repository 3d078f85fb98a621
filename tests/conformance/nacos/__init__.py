"""The vendor's and the community's Nacos clients against Atoll."""
