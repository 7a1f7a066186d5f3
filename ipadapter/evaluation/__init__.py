"""The paper's metrics, and how sure they are."""
