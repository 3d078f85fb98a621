"""What the faults of the registry need: fleets of clients in processes of their own, a stage, and the verdict."""
