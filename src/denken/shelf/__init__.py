"""Which models are here, and how they come: fetched whole from the Hugging Face Hub, listed, removed."""
