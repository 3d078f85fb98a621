"""What the failure table needs: candidates and a witness as processes of their own, an arena, and the check."""
