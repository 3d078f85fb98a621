"""The compiler: what is known of services and policies, as xDS resources for one client."""
