"""Two files of snapshots side by side: what is better, worse, new and gone."""
