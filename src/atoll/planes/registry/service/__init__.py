"""The registry at work: it follows the store, decides by the model, commits under guards."""
